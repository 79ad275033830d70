"""Why a model cannot be served; the messages are for the operator."""


class ModelNotFoundError(Exception):
    """The model is not on this machine; the message says how to get it."""


class UnsupportedModelError(Exception):
    """The model is there but cannot be served."""

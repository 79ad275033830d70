"""Errors of models that cannot be served; the messages are for the operator."""


class ModelMissingError(Exception):
    """The model is not on this machine; the message says how to get it."""


class UnsupportedModelError(Exception):
    """The model is there but cannot be served."""


class KVCacheTooSmallError(ValueError):
    """The KV cache cannot hold a single request of full length."""

"""The one error of the launcher."""


class LaunchError(Exception):
    """The servers cannot run here; the message says why and what to do about it."""

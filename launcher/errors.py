"""The errors of the launcher."""


class LaunchError(Exception):
    """The servers cannot run; the message says why and what to do about it."""


class LaunchInterrupted(Exception):  # noqa: N818 - it is not an error
    """The user stopped the servers before they were ready."""

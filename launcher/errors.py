"""The errors of the launcher."""


class LaunchError(Exception):
    """The servers cannot run here; the message says why and what to do about it."""


class LaunchInterrupted(Exception):  # noqa: N818 - it is no error
    """Whoever started the servers wants them stopped before they were ready."""

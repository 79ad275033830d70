"""The vectors of a server that runs: they follow their files within two seconds."""

from __future__ import annotations

import logging
import threading

from triton_models.vectors.registry import VectorRegistry
from triton_models.vectors.vector_folder import VectorFolder

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
"""The pause between looks. A change takes two of them, so it takes effect within about a second.

Looks rather than notices of the kernel (inotify), which network volumes do not give.
"""

_STOP_SECONDS = 5.0


class LiveRegistry:
    """Watches a folder of vectors from a thread of its own.

    The vectors are read when it is made; from `start` to `stop` they are kept up to date. Each
    change makes a new `VectorRegistry`, put in place of the old one by a single assignment.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: VectorFolder) -> None:
        self._folder = folder
        self._current = folder.refresh()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vectors", daemon=True)

    def current(self) -> VectorRegistry:
        """Returns the vectors there are at the moment."""
        return self._current

    def start(self) -> None:
        """Starts to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Stops to watch; a look that hangs in a network volume is left to itself."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        trouble = ""
        while not self._stopping.wait(LOOK_SECONDS):
            try:
                self._current = self._folder.refresh()
                trouble = ""
            except Exception as error:
                # The vectors there are stay in use. Twice a second the same would fill the log.
                if trouble != repr(error):
                    trouble = repr(error)
                    logger.exception("the folder of vectors could not be looked at")

"""The vectors of a running server, which follow changes of their files within two seconds."""

from __future__ import annotations

import logging
import threading

from triton_models.vectors.registry import VectorRegistry
from triton_models.vectors.vector_folder import VectorFolder

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
"""The pause between scans. A change needs two of them, so it takes effect within about a second.

The folder is polled, because network volumes have no change notifications (inotify).
"""

_STOP_SECONDS = 5.0


class LiveRegistry:
    """Watches a folder of vectors from its own thread.

    The vectors are read on construction and kept up to date from `start` to `stop`. Each change
    makes a new `VectorRegistry`, which replaces the old one by a single assignment.

    Args:
        folder: The folder.
        look_seconds: The pause between scans.
    """

    def __init__(self, folder: VectorFolder, look_seconds: float = LOOK_SECONDS) -> None:
        self._folder = folder
        self._look_seconds = look_seconds
        self._current = folder.refresh()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vectors", daemon=True)

    def current(self) -> VectorRegistry:
        """Returns the vectors that are loaded at the moment."""
        return self._current

    def start(self) -> None:
        """Starts watching."""
        self._thread.start()

    def stop(self) -> None:
        """Stops watching; a scan that hangs on a network volume is abandoned."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        trouble = ""
        while not self._stopping.wait(self._look_seconds):
            try:
                self._current = self._folder.refresh()
                trouble = ""
            except Exception as error:
                # The loaded vectors stay in use. The same error is logged once only.
                if trouble != repr(error):
                    trouble = repr(error)
                    logger.exception("the folder of vectors could not be read")

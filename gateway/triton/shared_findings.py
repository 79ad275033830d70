"""What the workers of one gateway tell each other of the servers, so that only one has to look."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from gateway.observability.workers import SHARED_FOLDER


class SharedFindings:
    """Findings about servers, in a folder that all workers have; a single worker has none.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    @classmethod
    def of_this_gateway(cls) -> SharedFindings:
        """Returns those of the folder that the workers of this gateway share."""
        folder = os.environ.get(SHARED_FOLDER)
        return cls(Path(folder) if folder else None)

    def publish(self, address: str, condition: str, reason: str, model: str) -> None:
        """Tells the others what was found just now.

        Args:
            address: Which server was looked at.
            condition: What the look says.
            reason: Why.
            model: Which step is to blame.
        """
        if self._folder is None:
            return
        path = self._path(address)
        partial = path.with_suffix(f".{os.getpid()}")
        # Whoever cannot write, or read, looks for himself.
        with suppress(OSError):
            partial.write_text(json.dumps([condition, reason, model]))
            partial.replace(path)

    def latest(self, address: str, max_age: float) -> tuple[str, str, str] | None:
        """Returns condition, reason and model as another worker found them, if that is not old.

        Args:
            address: Which server.
            max_age: How many seconds ago it may have been.
        """
        if self._folder is None:
            return None
        path = self._path(address)
        try:
            if time.time() - path.stat().st_mtime >= max_age:
                return None
            condition, reason, model = json.loads(path.read_text())
        except (OSError, ValueError):
            return None
        return str(condition), str(reason), str(model)

    def _path(self, address: str) -> Path:
        assert self._folder
        return self._folder / f"health-{sha256(address.encode()).hexdigest()[:16]}.json"

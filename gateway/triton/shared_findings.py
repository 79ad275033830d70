"""What is found about servers, which the workers of one gateway share: only one has to look."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from enum import Enum
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from gateway.observability.workers import SHARED_FOLDER
from triton_models.contract.tensors import STEERED_QWEN


class ServerHealth(str, Enum):
    """What a look says about a server."""

    WELL = "well"
    BUSY = "busy"
    UNREACHABLE = "unreachable"
    NOT_LOADED = "not loaded"
    DRAINING = "draining"
    SILENT = "silent"
    DEAD = "dead"


class Finding(NamedTuple):
    """The outcome of one look."""

    condition: ServerHealth
    reason: str = ""
    model: str = STEERED_QWEN
    """Which step of the ensemble is to blame."""


class SharedFindings:
    """Findings about servers, by address, in a folder of all workers; a single one has none."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    @classmethod
    def of_this_gateway(cls) -> SharedFindings:
        """Returns those of the folder that the workers of this gateway share."""
        folder = os.environ.get(SHARED_FOLDER)
        return cls(Path(folder) if folder else None)

    def publish(self, address: str, finding: Finding) -> None:
        """Tells the others what was found just now."""
        if self._folder is None:
            return
        path = self._path(address)
        partial = path.with_suffix(f".{os.getpid()}")
        # Whoever cannot write, or read, looks for himself.
        with suppress(OSError):
            partial.write_text(json.dumps(finding))
            partial.replace(path)

    def latest(self, address: str, max_age: float) -> Finding | None:
        """Returns what another worker found, if that was less than `max_age` seconds ago."""
        if self._folder is None:
            return None
        path = self._path(address)
        try:
            if time.time() - path.stat().st_mtime >= max_age:
                return None
            condition, reason, model = json.loads(path.read_text())
            return Finding(ServerHealth(condition), str(reason), str(model))
        except (OSError, ValueError):
            return None

    def _path(self, address: str) -> Path:
        assert self._folder
        return self._folder / f"health-{sha256(address.encode()).hexdigest()[:16]}.json"

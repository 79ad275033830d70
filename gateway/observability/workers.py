"""What several worker processes have in common: a folder in which each keeps what it counts.

They share a port, so that a scrape reaches one of them by chance: it must answer for all.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prometheus_client.multiprocess import mark_process_dead

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that names the folder. prometheus_client reads it when it is imported."""


@contextmanager
def shared_folder(workers: int) -> Iterator[None]:
    """Makes a folder for the workers that are started in this context, unless there is one."""
    if workers == 1 or os.environ.get(SHARED_FOLDER):
        yield
        return
    with tempfile.TemporaryDirectory(prefix="persona-gateway-metrics-") as folder:
        os.environ[SHARED_FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[SHARED_FOLDER]


def forget_dead_workers(folder: Path) -> None:
    """Takes away the gauges of workers that have ended; what they counted stays."""
    for pid in {int(path.stem.rpartition("_")[2]) for path in folder.glob("gauge_live*.db")}:
        if not _is_alive(pid):
            # Another scrape may do the same at this moment.
            with suppress(FileNotFoundError):
                mark_process_dead(pid, str(folder))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it lives, as somebody else's
    return True

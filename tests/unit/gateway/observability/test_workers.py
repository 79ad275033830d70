"""Several workers' metrics: the folder that they share, and what a dead one leaves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.observability.workers import SHARED_FOLDER, forget_dead_workers, shared_folder


def test_several_workers_share_a_folder_and_one_needs_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(SHARED_FOLDER, raising=False)
    with shared_folder(1):
        assert SHARED_FOLDER not in os.environ
    with shared_folder(2):
        folder = Path(os.environ[SHARED_FOLDER])
        assert folder.is_dir()
    assert not folder.exists()
    assert SHARED_FOLDER not in os.environ
    monkeypatch.setenv(SHARED_FOLDER, "given")
    with shared_folder(2):
        assert os.environ[SHARED_FOLDER] == "given"


def test_a_worker_s_gauges_go_with_it_and_its_counters_stay(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for pid in (dead.pid, os.getpid()):
        (tmp_path / f"gauge_livesum_{pid}.db").touch()
        (tmp_path / f"counter_{pid}.db").touch()
    forget_dead_workers(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {
        f"gauge_livesum_{os.getpid()}.db",
        f"counter_{os.getpid()}.db",
        f"counter_{dead.pid}.db",
    }

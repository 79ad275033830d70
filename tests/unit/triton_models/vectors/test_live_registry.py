"""A server that runs follows its vector files."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.triton_models.vectors.folder import document, value_of, write
from triton_models.vectors.folder_look import take_look
from triton_models.vectors.live_registry import LOOK_SECONDS, LiveRegistry
from triton_models.vectors.vector_folder import VectorFolder


@pytest.fixture
def live(folder: VectorFolder) -> Iterator[LiveRegistry]:
    registry = LiveRegistry(folder)
    registry.start()
    yield registry
    registry.stop()
    assert not any(thread.name == "vectors" for thread in threading.enumerate())


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_a_server_that_runs_follows_its_files_eventually(
    live: LiveRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = count_looks(monkeypatch)
    before = live.current()
    write(tmp_path / "sarcasm.json", document(value=8.0))
    first = len(looks)
    assert eventually(lambda: value_of(live.current()) == 8.0)
    # The first may have begun before the file was written.
    assert (len(looks) - first - 1) * LOOK_SECONDS < 2
    assert value_of(before) == 1.0
    (tmp_path / "sarcasm.json").unlink()
    first = len(looks)
    assert eventually(lambda: not live.current().vectors)
    assert (len(looks) - first - 1) * LOOK_SECONDS < 2


def count_looks(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    looks: list[None] = []

    def counted(*arguments: Any) -> Any:
        looks.append(None)
        return take_look(*arguments)

    monkeypatch.setattr("triton_models.vectors.vector_folder.take_look", counted)
    return looks


def test_the_watch_goes_on_after_an_error_and_says_it_once(
    live: LiveRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    looks: list[None] = []

    def failing(*_: Any) -> None:
        looks.append(None)
        raise RuntimeError("the sky fell")

    with monkeypatch.context() as patch:
        patch.setattr("triton_models.vectors.vector_folder.take_look", failing)
        assert eventually(lambda: len(looks) > 2)
    assert value_of(live.current()) == 1.0
    assert caplog.text.count("could not be read") == 1
    write(tmp_path / "flattery.json", document("flattery"))
    assert eventually(lambda: "flattery" in live.current().vectors)

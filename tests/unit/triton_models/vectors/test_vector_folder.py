"""Vector files that come, change, break and go between two looks at their folder."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.unit.triton_models.vectors.folder import FIT, document, settled, value_of, write
from triton_models.vectors import folder_look
from triton_models.vectors.registry import Problem
from triton_models.vectors.vector_folder import VectorFolder

KEPT = "kept the version loaded before"


def test_what_is_there_at_first_is_read_at_once_and_then_left_alone(
    folder: VectorFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = folder.refresh()
    assert value_of(first) == 1.0

    def read(*_: Any) -> None:
        raise AssertionError("an unchanged file was read again")

    monkeypatch.setattr("triton_models.vectors.vector_folder.read_vector", read)
    assert folder.refresh() is first


def test_a_new_a_changed_and_a_removed_file_count_from_the_second_look_on(
    folder: VectorFolder, tmp_path: Path
) -> None:
    before = folder.refresh()
    write(tmp_path / "sarcasm.json", document(value=3.0))
    write(tmp_path / "deep" / "er" / "flattery.json", document("flattery"))
    assert folder.refresh() is before
    after = folder.refresh()
    assert (value_of(before), value_of(after)) == (1.0, 3.0)  # a snapshot never changes
    assert after.get("flattery").source == "deep/er/flattery.json"
    (tmp_path / "sarcasm.json").unlink()
    assert "sarcasm" in folder.refresh().vectors
    assert list(folder.refresh().vectors) == ["flattery"]


def test_a_change_that_keeps_size_and_time_is_noticed(folder: VectorFolder, tmp_path: Path) -> None:
    path = tmp_path / "sarcasm.json"
    folder.refresh()
    status = path.stat()
    write(path, document(value=7.0))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    assert value_of(settled(folder)) == 7.0


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "{",
        document(value=3.0)[:-20],
        json.dumps({"trait_name": "sarcasm", "vectors": {"1": [1.0]}}),
        json.dumps({"trait_name": "sarcasm", "vectors": {"9": [1.0, 2.0]}}),
        document(recommended_range=[2, 1]),
        document(recommended_range="wide"),
        document(note=float("nan")),
        document(note="x" * 300_000),
        json.dumps(
            {"trait_name": "sarcasm", "vectors": {"1": [1, 2]}, "metadata": {"n": "\ud800"}}
        ),
    ],
)
def test_a_file_that_breaks_leaves_its_last_good_vector_in_use(
    folder: VectorFolder, tmp_path: Path, broken: str
) -> None:
    folder.refresh()
    write(tmp_path / "sarcasm.json", broken)
    kept = settled(folder)
    assert value_of(kept) == 1.0
    assert kept.kept == {"sarcasm"}
    (problem,) = kept.problems
    assert (problem.source, problem.state, problem.trait) == ("sarcasm.json", KEPT, "sarcasm")
    assert problem.reason
    write(tmp_path / "sarcasm.json", document(value=4.0))
    mended = settled(folder)
    assert (value_of(mended), mended.problems, mended.kept) == (4.0, (), frozenset())


def test_a_file_that_was_never_good_is_listed_and_not_used(tmp_path: Path) -> None:
    write(tmp_path / "a.json", "{")
    folder = VectorFolder(tmp_path, FIT)
    (problem,) = folder.refresh().problems
    assert (problem.source, problem.state) == ("a.json", "not used")
    write(tmp_path / "a.json", document())
    assert value_of(settled(folder)) == 1.0


def test_a_file_is_not_read_while_it_grows(folder: VectorFolder, tmp_path: Path) -> None:
    folder.refresh()
    text = document(value=5.0)
    for length in range(10, len(text), 10):
        write(tmp_path / "sarcasm.json", text[:length])
        now = folder.refresh()
        assert (value_of(now), now.problems) == (1.0, ())
    write(tmp_path / "sarcasm.json", text)
    assert value_of(settled(folder)) == 5.0


def test_a_file_that_changes_while_it_is_read_is_read_again(
    folder: VectorFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.refresh()
    write(tmp_path / "sarcasm.json", document(value=5.0))
    folder.refresh()
    module = "triton_models.vectors.vector_folder.read_vector"
    from triton_models.vectors.formats import read_vector

    def slow(path: Path) -> Any:
        vector = read_vector(path)
        write(path, document(value=66.0))
        return vector

    with monkeypatch.context() as patch:
        patch.setattr(module, slow)
        assert value_of(folder.refresh()) == 1.0
    assert value_of(settled(folder)) == 66.0


def test_of_two_files_with_one_trait_the_one_in_use_stays_until_it_goes(
    folder: VectorFolder, tmp_path: Path
) -> None:
    folder.refresh()
    write(tmp_path / "another.json", document(value=9.0))
    both = settled(folder)
    assert value_of(both) == 1.0
    (problem,) = both.problems
    assert (problem.source, problem.trait) == ("another.json", "sarcasm")
    assert "already comes from sarcasm.json" in problem.reason
    assert len(problem.sha256) == 64
    (tmp_path / "sarcasm.json").unlink()
    after = settled(folder)
    assert (value_of(after), after.problems) == (9.0, ())


def test_a_trait_is_never_gone_while_its_file_is_renamed_or_replaced(
    folder: VectorFolder, tmp_path: Path
) -> None:
    folder.refresh()
    (tmp_path / "sarcasm.json").rename(tmp_path / "renamed.json")
    assert "sarcasm" in folder.refresh().vectors
    assert folder.refresh().get("sarcasm").source == "renamed.json"
    (tmp_path / "renamed.json").unlink()
    assert "sarcasm" in folder.refresh().vectors
    write(tmp_path / "renamed.json", document(value=2.0))
    assert "sarcasm" in folder.refresh().vectors
    assert value_of(folder.refresh()) == 2.0


def test_a_file_may_change_its_trait_and_swap_it_with_another(
    folder: VectorFolder, tmp_path: Path
) -> None:
    write(tmp_path / "flattery.json", document("flattery", 2.0))
    folder.refresh()
    write(tmp_path / "sarcasm.json", document("flattery", 3.0))
    write(tmp_path / "flattery.json", document("sarcasm", 4.0))
    now = settled(folder)
    assert (value_of(now, "flattery"), value_of(now, "sarcasm"), now.problems) == (3.0, 4.0, ())


def test_a_config_map_s_links_are_followed_swapped_and_seen_once(tmp_path: Path) -> None:
    def publish(name: str, value: float) -> None:
        write(tmp_path / name / "sarcasm.json", document(value=value))
        (tmp_path / "..new").symlink_to(name)
        (tmp_path / "..new").replace(tmp_path / "..data")

    publish("..2026_01", 1.0)
    (tmp_path / "sarcasm.json").symlink_to("..data/sarcasm.json")
    folder = VectorFolder(tmp_path, FIT)
    first = folder.refresh()
    assert (value_of(first), first.problems) == (1.0, ())
    publish("..2026_02", 2.0)
    shutil.rmtree(tmp_path / "..2026_01")
    second = settled(folder)
    assert (value_of(second), second.problems) == (2.0, ())


def test_loops_pipes_and_dead_links_do_no_harm(folder: VectorFolder, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    (tmp_path / "self.json").symlink_to("self.json")
    (tmp_path / "dead.json").symlink_to("nowhere")
    (tmp_path / "folder.json").mkdir()
    os.mkfifo(tmp_path / "pipe.json")
    write(tmp_path / ".hidden.json", document("hidden"))
    write(tmp_path / "sarcasm_extended.json", document("extended"))
    write(tmp_path / "sarcasm.json.partial", document("partial"))
    found = folder.refresh()
    assert (list(found.vectors), found.problems) == (["sarcasm"], ())


def test_more_files_than_the_limit_are_said_and_not_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_look, "MAX_FILES", 3)
    for index in range(5):
        write(tmp_path / f"{index}.json", document(f"t{index}"))
    found = VectorFolder(tmp_path, FIT).refresh()
    assert list(found.vectors) == ["t0", "t1", "t2"]
    assert "more than 3 files" in found.problems[0].reason


def test_what_cannot_be_looked_at_for_a_moment_stays_as_it_was(
    folder: VectorFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "sub" / "flattery.json", document("flattery"))
    folder.refresh()
    scandir = os.scandir

    def failing(path: Any) -> Any:
        if Path(path).name == "sub":
            raise OSError(5, "Input/output error")
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", failing)
        for _ in range(3):
            now = folder.refresh()
        assert sorted(now.vectors) == ["flattery", "sarcasm"]
        assert now.problems == (Problem("sub/", "cannot be read: Input/output error"),)
    assert folder.refresh().problems == ()


def test_a_reader_that_fails_unforeseen_takes_down_only_its_file(
    folder: VectorFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.refresh()
    from triton_models.vectors.formats import read_vector

    def failing(path: Path) -> Any:
        if path.name == "bad.json":
            raise MemoryError
        return read_vector(path)

    monkeypatch.setattr("triton_models.vectors.vector_folder.read_vector", failing)
    write(tmp_path / "bad.json", document("bad"))
    write(tmp_path / "good.json", document("good"))
    now = settled(folder)
    assert sorted(now.vectors) == ["good", "sarcasm"]
    assert "MemoryError" in now.problems[0].reason


def test_noted_residual_norms_that_are_no_norms_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "a.json", document("a", residual_norms={"1": 0, "2": 5}))
    write(tmp_path / "b.json", document("b", residual_norms={"1": 4, "2": "x"}))
    registry = VectorFolder(tmp_path, FIT).refresh()
    assert [registry.get(trait).residual_norms for trait in "ab"] == [{}, {1: 4.0}]

"""Vectors are made in one go on the demo model; what was stopped goes on, what is done is kept."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from persona_research import progress
from persona_research.commands.making import ANSWERS, MADE_WITH, MakingRun, run_making
from persona_research.commands.options import ModelOptions
from persona_research.judges.choice import JudgeChoice
from persona_research.making import MakingError, blocks_to_compare, make_settings
from persona_research.progress import AnswerStore, StoredAnswer
from triton_models.settings import DATA_ROOT
from triton_models.vectors.formats import read_vector

TRAITS = ("flattery", "sarcasm")
KEPT = {"positive_prompts": 2, "negative_prompts": 2, "evaluation_questions": 5}


def run_in(folder: Path) -> MakingRun:
    """Returns a run for two traits with few prompts and questions."""
    prompts = folder / "prompts"
    prompts.mkdir(exist_ok=True)
    for trait in TRAITS:
        definition = json.loads((DATA_ROOT / f"prompts/{trait}_trait.json").read_text())
        few = {key: definition[key][:count] for key, count in KEPT.items()}
        (prompts / f"{trait}_trait.json").write_text(json.dumps(definition | few))
    return MakingRun(
        prompts=prompts,
        output=folder / "vectors",
        runs=folder / "runs",
        model=ModelOptions(threads=1),
        judge=JudgeChoice("rule"),
        settings=make_settings(max_new_tokens=24, neutral_questions=3, questions=3),
    )


@pytest.fixture
def run(tmp_path: Path) -> MakingRun:
    """Two traits of which nothing is made yet."""
    return run_in(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder where both traits are made, and what was said while they were."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, made(run_in(folder))


@pytest.fixture(autouse=True)
def no_more_plots(finished: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws none but those of the finished run: they take longer than the vectors do."""
    monkeypatch.setattr(Figure, "savefig", lambda *_, **__: None)


@pytest.fixture
def finished_run(finished: tuple[Path, list[str]], tmp_path: Path) -> MakingRun:
    """Two traits that are made, for a test to do with as it likes."""
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    return run_in(tmp_path)


def made(run: MakingRun) -> list[str]:
    """Makes the vectors, and returns what was said."""
    said: list[str] = []
    run_making(run, said.append)
    return said


def stop_after(monkeypatch: pytest.MonkeyPatch, answers: int) -> None:
    """Has Ctrl-C pressed when so many answers have been generated."""
    add, left = AnswerStore.add_answer, iter(range(answers))

    def add_answer(store: AnswerStore, key: str, answer: StoredAnswer) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        add(store, key, answer)

    monkeypatch.setattr(progress.AnswerStore, "add_answer", add_answer)


def num_answers(run: MakingRun) -> int:
    with AnswerStore(run.runs / "persona-demo" / ANSWERS) as store:
        return len(store)


def test_all_is_made_whether_it_is_stopped_or_not(
    finished: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, first = run_in(finished[0]), finished[1][0]
    assert first.startswith("2 traits to make: at most ")
    assert " at the speed measured here (float32)" in first
    assert run.output is not None
    vectors = {trait: read_vector(run.output / f"{trait}.json") for trait in TRAITS}
    for vector in vectors.values():
        low, high = vector.recommended_range or (0.0, 0.0)
        assert low < high
        assert vector.selected_blocks in ((1,), (2,))
        assert {"calibration", "evaluation"} <= set(vector.metadata)
    folder = run.runs / "persona-demo"
    report = (folder / "report.md").read_text()
    assert all(trait in report for trait in TRAITS)
    assert (folder / "movements.csv").read_text().count("\n") > len(TRAITS) ** 2
    assert all((folder / f"{trait}_blocks/report.md").exists() for trait in TRAITS)
    assert (folder / "movements.png").stat().st_size > 0

    # Once in the first trait's extraction, once in the second one's measuring.
    other = dataclasses.replace(run, output=tmp_path / "again", runs=tmp_path / "runs again")
    total, kept = num_answers(run), []
    announced = re.search(r"at most ([\d,]+) answers", first)
    assert announced is not None
    assert total <= int(announced[1].replace(",", ""))
    for after in (10, total * 3 // 4):
        with monkeypatch.context() as patch:
            stop_after(patch, after)
            with pytest.raises(KeyboardInterrupt):
                made(other)
        kept.append(num_answers(other))
    assert kept[0] == 10
    assert kept[1] == 10 + total * 3 // 4
    said = made(other)
    assert f"{kept[1]} answers of earlier runs are kept" in said[1]
    assert said[0].startswith("flattery: finished already")
    assert num_answers(other) == total
    for trait, vector in vectors.items():
        again = read_vector(tmp_path / "again" / f"{trait}.json")
        assert again.metadata == vector.metadata
        assert all((again.blocks[block] == vector.blocks[block]).all() for block in vector.blocks)
    assert (tmp_path / "runs again/persona-demo/report.md").read_text() == report


def test_what_is_finished_is_left_as_it_is(finished_run: MakingRun) -> None:
    one = dataclasses.replace(finished_run, traits=["sarcasm"])
    assert one.output is not None
    file = one.output / "sarcasm.json"
    before, answers = file.read_bytes(), num_answers(one)
    assert made(one) == [f"sarcasm: finished already, in {file}"]

    longer = dataclasses.replace(
        one, settings=make_settings(max_new_tokens=28, neutral_questions=3, questions=3)
    )
    with pytest.raises(MakingError, match="was not made with these settings: give --force"):
        made(longer)
    assert (file.read_bytes(), num_answers(one)) == (before, answers)
    made(dataclasses.replace(longer, overwrite=True))
    assert read_vector(file).metadata[MADE_WITH] != json.loads(before)["metadata"][MADE_WITH]


def test_a_trait_that_cannot_be_made_does_not_keep_others_from_it(
    finished_run: MakingRun, tmp_path: Path
) -> None:
    run = dataclasses.replace(finished_run, output=tmp_path / "again")
    file = run.prompts / "flattery_trait.json"
    definition = json.loads(file.read_text())
    definition["negative_prompts"] = definition["positive_prompts"]
    file.write_text(json.dumps(definition))
    with pytest.raises(MakingError, match="flattery: no pair of answers passes the filter"):
        made(run)
    assert run.output is not None
    assert [path.name for path in run.output.iterdir()] == ["sarcasm.json"]


def test_the_server_is_asked_first_what_it_serves(run: MakingRun) -> None:
    class Other:
        model = "Qwen/Qwen2.5-3B-Instruct"

        def load(self, trait: str, file: Path) -> None:
            raise AssertionError("nothing was made for it")

    with pytest.raises(MakingError, match="the server serves Qwen"):
        run_making(run, lambda line: None, Other())
    assert not run.runs.exists()


@pytest.mark.parametrize(
    ("num_layers", "blocks"),
    [(1, (0,)), (4, (1, 2)), (28, (7, 10, 13, 17, 20)), (36, (9, 13, 17, 22, 26))],
)
def test_the_compared_blocks_span_the_middle_half(num_layers: int, blocks: tuple[int, ...]) -> None:
    assert blocks_to_compare(num_layers) == blocks

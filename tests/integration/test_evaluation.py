"""The evaluation of a vector of the demo model: what it finds, and that it can be cut off."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from persona_client.cli.app import app
from persona_research.commands.evaluation import ANSWERS, EvaluationRun, run_evaluation
from persona_research.commands.options import DEFAULT_VECTORS, ModelOptions
from persona_research.evaluation import output
from persona_research.evaluation.conditions import EvaluationSampling
from persona_research.evaluation.evaluation import Evaluation
from persona_research.evaluation.trait_evaluation import EvaluationError, EvaluationSettings
from persona_research.judges.choice import JudgeChoice
from persona_research.model import ResearchModel
from persona_research.progress import AnswerStore
from triton_models.vectors.formats import read_vector

TRAITS = ("sarcasm", "flattery")
RUN = EvaluationRun(
    vectors=[str(DEFAULT_VECTORS / f"{trait}.json") for trait in TRAITS],
    model=ModelOptions(device="cpu", threads=1),
    judge=JudgeChoice("rule"),
    settings=EvaluationSettings(
        (-2.0, -1.0, 1.0, 2.0), (1,), questions=6, sampling=EvaluationSampling(64)
    ),
    cross=True,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluation")


@pytest.fixture(autouse=True, scope="module")
def no_plots() -> Iterator[None]:
    """Plots take most of a small evaluation's time, and have tests of their own."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("plot_doses", "plot_blocks", "plot_movements", "plot_cosines"):
            patch.setattr(output, name, lambda *arguments: [])
        yield


@pytest.fixture(scope="module")
def evaluation(folder: Path, no_plots: None) -> Evaluation:
    return run_evaluation(dataclasses.replace(RUN, output=folder), lambda line: None)


def test_the_score_rises_with_the_scalar_and_the_range_is_sane(evaluation: Evaluation) -> None:
    for trait in evaluation.traits:
        (curve,) = trait.curves
        assert curve.scalars == (-2, -1, 0, 1, 2)
        scores = [dose.score.value for dose in curve.doses]
        assert scores == sorted(scores)
        assert scores[0] < 10 < 50 == scores[2] < 90 < scores[-1]
        assert trait.choice.chosen is not None
        assert trait.choice.chosen.blocks == (1,)
        span = trait.choice.chosen.range
        assert -2 <= span.low <= -1 < 1 <= span.high <= 2


def test_surprise_and_dose_are_measured(evaluation: Evaluation) -> None:
    for trait in evaluation.traits:
        (curve,) = trait.curves
        values = [dose.perplexity.value for dose in curve.doses]
        assert min(values) == values[2]
        assert 1 < values[2] < 1.5
        assert trait.asked.trait is not None
        assert trait.asked.trait.score.value > 90
        *steered, unsteered = sorted((dose.divergence.value for dose in curve.doses), reverse=True)
        assert unsteered == curve.unsteered.divergence.value == pytest.approx(0, abs=1e-6)
        assert min(*steered, trait.asked.trait.divergence.value) > 0.1
        assert curve.residual_share == pytest.approx(
            trait.vector.norms[1] / trait.residual_norms[1]
        )
        assert 0.1 < curve.residual_share < 0.3


def test_a_trait_moves_itself_and_not_the_other(evaluation: Evaluation) -> None:
    changes = {(each.steered, each.judged, each.scalar > 0): each for each in evaluation.movements}
    assert len(changes) == 8
    assert changes["sarcasm", "sarcasm", True].change.value > 30
    assert changes["sarcasm", "sarcasm", False].change.value < -30
    assert abs(changes["sarcasm", "flattery", True].change.value) < 10
    (table,) = evaluation.cosines
    assert (table.block, table.traits) == (1, TRAITS)
    np.testing.assert_allclose(np.diag(table.values), 1)


def test_a_run_that_was_cut_off_ends_like_one_that_was_not(
    evaluation: Evaluation, folder: Path, tmp_path: Path
) -> None:
    lines = (folder / ANSWERS).read_bytes().splitlines(keepends=True)
    kept = lines[: len(lines) // 3]
    (tmp_path / ANSWERS).write_bytes(b"".join(kept) + lines[-1][:20])
    again = run_evaluation(dataclasses.replace(RUN, output=tmp_path), lambda line: None)
    assert again.movements == evaluation.movements
    for name in ("evaluation.json", "doses.csv", "report.md"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    assert sorted((tmp_path / ANSWERS).read_bytes().splitlines(keepends=True)) == sorted(lines)


def test_a_finished_run_generates_nothing(
    evaluation: Evaluation, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del evaluation
    asked: list[int] = []
    generate = ResearchModel.answers_as_finished

    def counted(self: ResearchModel, requests: Any) -> Any:
        asked.append(len(requests))
        return generate(self, requests)

    monkeypatch.setattr(ResearchModel, "answers_as_finished", counted)
    one = dataclasses.replace(RUN, vectors=RUN.vectors[:1], output=folder / "again")
    (folder / "again").mkdir()
    shutil.copy(folder / ANSWERS, folder / "again" / ANSWERS)
    run_evaluation(one, lambda line: None)
    assert sum(asked) == 0


def test_ctrl_c_keeps_what_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add = AnswerStore.add_answer

    def interrupted(self: AnswerStore, key: str, answer: Any) -> None:
        if len(self) == 5:
            raise KeyboardInterrupt
        add(self, key, answer)

    monkeypatch.setattr(AnswerStore, "add_answer", interrupted)
    arguments = ["vectors", "evaluate", "sarcasm", "--layers", "1", "--output", str(tmp_path)]
    result = CliRunner().invoke(app, [*arguments, "--threads", "1", "--max-tokens", "32"])
    assert result.exit_code == 130
    assert "give the same command again" in result.stderr
    assert len(AnswerStore(tmp_path / ANSWERS)) == 5
    assert not (tmp_path / "report.md").exists()


def test_the_command_writes_what_it_chose_only_when_told_to(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "sarcasm.json"
    shutil.copy(DEFAULT_VECTORS / "sarcasm.json", path)
    before = path.read_bytes()
    shutil.copy(folder / ANSWERS, tmp_path / ANSWERS)
    arguments = ["vectors", "evaluate", str(path), "--layers", "1", "--scalars", "-2,-1,1,2"]
    arguments += ["--questions", "6", "--max-tokens", "64", "--threads", "1"]
    arguments += ["--judge", "rule"]
    arguments += ["--device", "cpu", "--output", str(tmp_path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "sarcasm: block 1, -2 to +2, score 0 / 50 / 100" in result.stdout
    assert path.read_bytes() == before
    result = CliRunner().invoke(app, [*arguments, "--budget", "0.01"])
    assert "sarcasm: no block turns it within the rule's limits" in result.stdout
    assert "divergence above 0.01 nats per token at +1" in (tmp_path / "blocks.csv").read_text()
    result = CliRunner().invoke(app, [*arguments, "--write"])
    assert result.exit_code == 0, result.output
    written = read_vector(path)
    assert written.selected_blocks == (1,)
    assert written.recommended_range == (-2, 2)
    original = read_vector(DEFAULT_VECTORS / "sarcasm.json")
    for block, numbers in original.blocks.items():
        np.testing.assert_array_equal(written.blocks[block], numbers)
    document = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    assert document["traits"][0]["trait_name"] == "sarcasm"


def test_another_models_vector_is_refused(tmp_path: Path, tiny_vectors_folder: Path) -> None:
    wrong = dataclasses.replace(
        RUN, vectors=[str(tiny_vectors_folder / "sarcasm.json")], output=tmp_path
    )
    with pytest.raises(EvaluationError, match="has 64 elements, but the hidden size"):
        run_evaluation(dataclasses.replace(wrong, settings=EvaluationSettings()), lambda line: None)

"""What an evaluation leaves on disk: tables, JSON, plots, a report, and a vector's metadata."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from persona_research.commands.evaluation import EvaluationRun, run_evaluation
from persona_research.evaluation.choice import ChoiceRule, choose
from persona_research.evaluation.cross_trait import movement
from persona_research.evaluation.document import as_document
from persona_research.evaluation.evaluation import Evaluation
from persona_research.evaluation.metadata import with_choice
from persona_research.evaluation.output import write_evaluation
from persona_research.evaluation.plots import plot_doses
from persona_research.evaluation.report import markdown_report
from persona_research.evaluation.tables import blocks_text, scalar_text
from persona_research.evaluation.trait_evaluation import (
    EvaluationError,
    EvaluationSettings,
    blocks_to_try,
)
from persona_research.judges import POINTS
from persona_research.markdown import markdown_table
from tests.unit.research.evaluations import MODEL, SCALARS, make_evaluation, make_trait, make_vector
from triton_models.vectors.formats import find_vector, read_vector, write_vector
from triton_models.vectors.persona_vector import VectorFileError

pytestmark = pytest.mark.slow  # draws plots


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return make_evaluation()


@pytest.fixture(scope="module")
def folder(evaluation: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_evaluation(evaluation, tmp_path_factory.mktemp("evaluation")).parent


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_dose_is_a_row(folder: Path, evaluation: Evaluation) -> None:
    rows = rows_of(folder / "doses.csv")
    assert len(rows) == (2 + 8) * len(SCALARS)
    (row,) = (
        r for r in rows if r["trait"] == "warmth" and r["blocks"] == "1" and r["scalar"] == "2.0"
    )
    dose = evaluation.traits[0].curves[1].at(2.0)
    assert float(row["score"]) == pytest.approx(dose.score.value, abs=1e-6)
    assert float(row["score_low"]) <= float(row["score"]) <= float(row["score_high"])
    assert float(row["residual_share"]) == pytest.approx(0.4)
    assert (row["answers"], row["unscored"], row["chosen"]) == ("4", "1", "True")


def test_every_block_and_every_pair_of_traits_is_a_row(folder: Path) -> None:
    assert len(rows_of(folder / "blocks.csv")) == 10
    chosen = [row for row in rows_of(folder / "blocks.csv") if row["chosen"] == "True"]
    assert [(row["trait"], row["blocks"]) for row in chosen] == [("warmth", "1"), ("candour", "7")]
    assert len(rows_of(folder / "movements.csv")) == 8
    assert len(rows_of(folder / "cosines.csv")) == 8


def test_the_json_holds_every_answer_and_no_number_that_json_lacks(
    folder: Path, evaluation: Evaluation
) -> None:
    document = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    first = document["traits"][0]
    assert len(first["answers"]) == 1 + 2 * (len(SCALARS) - 1)
    assert all(len(group["answers"]) == 4 for group in first["answers"])
    assert first["choice"]["chosen"]["blocks"] == [1]
    assert document["settings"]["rule"] == dataclasses.asdict(ChoiceRule())
    nothing = dataclasses.replace(evaluation, movements=(movement("a", "b", 1.0, [None], [None]),))
    assert as_document(nothing)["movements"][0]["change"]["value"] is None


def test_plots_are_written_as_png_and_svg_and_named_in_the_report(folder: Path) -> None:
    report = (folder / "report.md").read_text(encoding="utf-8")
    names = ["movements", "cosines"]
    names += [f"{kind}_{trait}" for kind in ("doses", "blocks") for trait in ("warmth", "candour")]
    for name in names:
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (folder / f"{name}.svg").read_text(encoding="utf-8")[:1000]
        assert f"]({name}.png)" in report


def test_the_same_evaluation_draws_the_same_plot(
    folder: Path, evaluation: Evaluation, tmp_path: Path
) -> None:
    for path in plot_doses(evaluation.traits[0], ChoiceRule(), tmp_path / "doses_warmth"):
        assert path.read_bytes() == (folder / path.name).read_bytes()


def test_the_report_says_what_was_chosen_and_what_was_left_out(folder: Path) -> None:
    report = (folder / "report.md").read_text(encoding="utf-8")
    assert "Steer block 1, from -2 (the grid ends) to +2 (the grid ends)." in report
    assert "have no score and are left out" in report
    assert "answer \\| 0.0 of two lines" in report


def test_a_trait_that_nothing_turns_is_reported_as_such(tmp_path: Path) -> None:
    trait = make_trait("warmth")
    flat = dataclasses.replace(trait, choice=choose((), trait.asked, ChoiceRule()))
    plot_doses(flat, ChoiceRule(), tmp_path / "doses_warmth")
    text = markdown_report(Evaluation(MODEL, "rule", POINTS, EvaluationSettings(), (flat,)), {})
    assert "No block turns this trait" in text
    with pytest.raises(ValueError, match="nothing to write"):
        with_choice(flat, MODEL, EvaluationSettings())


def test_the_choice_goes_into_the_metadata_and_the_numbers_stay(tmp_path: Path) -> None:
    trait = make_trait("warmth")
    path = tmp_path / "warmth.json"
    write_vector(trait.vector, path)
    before = read_vector(path)
    read = dataclasses.replace(trait, vector=before)
    write_vector(with_choice(read, MODEL, EvaluationSettings()), path)
    after = read_vector(path)
    assert after.selected_blocks == (1,)
    assert after.recommended_range == (-2, 2)
    for block, numbers in before.blocks.items():
        np.testing.assert_array_equal(after.blocks[block], numbers)
    assert after.metadata["scale"] == 0.5
    assert "selected_layer" not in after.metadata
    noted = after.metadata["evaluation"]
    assert (noted["model"], noted["judge"], noted["questions"]) == ("org/tiny", "rule", 4)
    assert [dose["scalar"] for dose in noted["doses"]] == list(SCALARS)
    assert noted["candidates"][1]["layers"] == [1]


def test_blocks_are_tried_alone_and_the_selected_ones_together() -> None:
    vector = make_vector("warmth", 3)
    assert blocks_to_try(vector, "all") == ((0,), (1,), (2,))
    assert blocks_to_try(vector, "selected") == ((0,),)
    several = dataclasses.replace(vector, metadata={"selected_layers": [1, 2]})
    assert blocks_to_try(several, "all") == ((0,), (1,), (2,), (1, 2))
    assert blocks_to_try(several, (2,)) == ((2,), (1, 2))
    vector.blocks[1][:] = 0
    assert blocks_to_try(vector, "all") == ((0,), (2,))
    with pytest.raises(EvaluationError, match=r"nothing at blocks \[1, 7\]: it has \[0, 2\]"):
        blocks_to_try(vector, (7, 1))


def run(**changes: Any) -> None:
    run_evaluation(EvaluationRun(**changes), lambda line: None)


def test_what_cannot_succeed_is_refused_before_the_model_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(VectorFileError, match="there is no vector of 'nobody'"):
        find_vector("nobody", tmp_path)
    path = tmp_path / "sarcasm.json"
    write_vector(make_vector("sarcasm", 2), path)
    assert find_vector("sarcasm", tmp_path) == path
    with pytest.raises(EvaluationError, match="several vectors of sarcasm"):
        run(vectors=[str(path), "sarcasm"], folder=tmp_path)
    with pytest.raises(EvaluationError, match=r"nothing at blocks \[5\]"):
        run(vectors=[str(path)], settings=EvaluationSettings(blocks=(5,)))
    lossy = tmp_path / "sarcasm.pt"
    write_vector(make_vector("sarcasm", 2), lossy)
    with pytest.raises(VectorFileError, match=r"sarcasm\.pt cannot hold"):
        run(vectors=[str(lossy)], write=True)


def test_words_for_blocks_and_scalars() -> None:
    assert blocks_text((1, 12)) == "1+12"
    assert [scalar_text(s) for s in (-1.5, 0.0, 2.0)] == ["-1.5", "0", "+2"]
    assert markdown_table(["a"], [["x|\ny"]]) == "| a |\n|---|\n| x\\| y |"

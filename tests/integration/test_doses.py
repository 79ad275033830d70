"""Calibrating a vector of the demo model finds what does as much as asking, and writes it down."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from persona_research.commands.calibration import CalibrationRun, run_calibration
from persona_research.commands.options import ModelOptions
from persona_research.turns import AnswerSettings
from triton_models.settings import DATA_ROOT
from triton_models.vectors.calibration_document import calibration_of
from triton_models.vectors.formats import read_vector
from triton_models.vectors.unit_scale import raw_scalar


def calibrated(folder: Path, **definition: object) -> tuple[Path, list[str]]:
    """Calibrates a copy of a shipped vector with few questions; returns it and what was said."""
    whole = json.loads((DATA_ROOT / "prompts/sarcasm_trait.json").read_text(encoding="utf-8"))
    few = {**whole, "evaluation_questions": whole["evaluation_questions"][:3], **definition}
    few = {name: value for name, value in few.items() if value is not None}
    (folder / "sarcasm_trait.json").write_text(json.dumps(few), encoding="utf-8")
    vector = folder / "sarcasm.json"
    shutil.copy(DATA_ROOT / "vectors/sarcasm.json", vector)
    said: list[str] = []
    run = CalibrationRun(
        [str(vector)],
        prompts=folder,
        runs=folder / "runs",
        model=ModelOptions(device="cpu", threads=1),
        settings=AnswerSettings(max_new_tokens=64, neutral_questions=0),
    )
    run_calibration(run, said.append)
    return vector, said


def test_the_file_says_what_does_as_much_as_asking(tmp_path: Path) -> None:
    vector, said = calibrated(tmp_path)
    found = read_vector(vector)
    # The vector was made to be used at scalars of 1 to 2, and asking is about the most it does.
    assert 1 < raw_scalar(found, (1,), 1.0, calibration_of(found).model) < 4
    assert "of what asking for the trait does, at " in said[-1]
    assert found.metadata["unit_scale"]["layers"]["1"]["positive"]["divergence"] > 0.1


def test_a_definition_that_cannot_be_split_is_calibrated_without_doses(tmp_path: Path) -> None:
    one = {"positive_prompts": ["Use sarcasm."], "negative_prompts": ["Be earnest."]}
    vector, said = calibrated(tmp_path, judge_prompts=None, **one)
    assert "no doses: the contrast judge needs other prompts" in said[-1]
    assert "unit_scale" not in read_vector(vector).metadata

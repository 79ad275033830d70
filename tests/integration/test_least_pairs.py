"""No vector is made of a few pairs of answers, unless somebody insists."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from persona_research.commands.extraction import ExtractionRun, run_extraction
from persona_research.commands.options import ModelOptions
from persona_research.extraction import ExtractionError, ExtractionSettings
from persona_research.judges.choice import JudgeChoice
from triton_models.settings import DATA_ROOT
from triton_models.vectors.formats import read_vector


def test_a_few_pairs_make_no_vector(tmp_path: Path) -> None:
    definition = json.loads((DATA_ROOT / "prompts/sarcasm_trait.json").read_text())
    definition["evaluation_questions"] = definition["evaluation_questions"][:1]
    file = tmp_path / "sarcasm_trait.json"
    file.write_text(json.dumps(definition))
    run = ExtractionRun(
        [str(file)],
        output=tmp_path,
        runs=tmp_path / "runs",
        model=ModelOptions(threads=1),
        judge=JudgeChoice("rule"),
        settings=ExtractionSettings(max_new_tokens=24, neutral_questions=0),
    )
    with pytest.raises(ExtractionError, match=r"sarcasm: \d of 5 pairs of answers pass"):
        run_extraction(run, lambda line: None)
    assert not (tmp_path / "sarcasm.json").exists()

    said: list[str] = []
    insisting = dataclasses.replace(run.settings, least_pairs=1)
    run_extraction(dataclasses.replace(run, settings=insisting), said.append)
    assert " of 5 pairs" in said[0]
    assert read_vector(tmp_path / "sarcasm.json").metadata["pairs"]["all"] == 5

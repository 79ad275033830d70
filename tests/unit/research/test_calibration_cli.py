"""The command that calibrates vectors: its options, and what they are when left out."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from persona_client.cli.app import app
from persona_research.commands import calibration, extraction
from persona_research.commands.calibration import CalibrationRun
from persona_research.commands.options import ModelOptions
from persona_research.extraction import ExtractionSettings
from persona_research.turns import AnswerSettings
from triton_models.settings import DATA_ROOT


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[CalibrationRun]:
    runs: list[CalibrationRun] = []
    monkeypatch.setattr(calibration, "run_calibration", lambda run, say: runs.append(run))
    return runs


def test_the_options_arrive(seen: list[CalibrationRun]) -> None:
    done = CliRunner().invoke(
        app,
        (
            *("vectors", "calibrate", "a", "b.gguf", "--definition", "c.json", "--folder", "f"),
            *("--prompts", "p", "--runs", "r", "--samples", "3", "--temperature", "1"),
            *("--seed", "7", "--max-tokens", "50", "--neutral-questions", "9", "--model", "m"),
        ),
    )
    assert done.exit_code == 0, done.output
    assert seen == [
        CalibrationRun(
            ["a", "b.gguf"],
            Path("f"),
            Path("p"),
            Path("c.json"),
            Path("r"),
            ModelOptions("m"),
            AnswerSettings(50, 1.0, 3, 7, neutral_questions=9),
        )
    ]


def test_left_out_they_are_those_of_an_extraction(
    seen: list[CalibrationRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that an extraction's answers are found, and nothing is asked of the list in vain."""
    extracted: list[extraction.ExtractionRun] = []
    monkeypatch.setattr(extraction, "run_extraction", lambda run, say: extracted.append(run))
    for command in ("calibrate", "extract"):
        assert CliRunner().invoke(app, ("vectors", command, "sarcasm")).exit_code == 0
    (calibrated,), (made,) = seen, extracted
    assert calibrated.settings == AnswerSettings()
    assert made.settings == ExtractionSettings()
    assert (calibrated.runs, calibrated.model) == (made.runs, made.model)
    assert calibrated.folder == DATA_ROOT / "vectors" == made.output

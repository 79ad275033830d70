"""Extraction is reproducible, goes on where it was cut off, and makes the vectors that ship."""

from __future__ import annotations

import dataclasses
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from persona_client.cli.app import app
from persona_research.definitions import TraitDefinition, read_trait_definition
from persona_research.extraction import (
    SELECTED_AS_GIVEN,
    SELECTED_BY_NORM,
    Extraction,
    ExtractionError,
    ExtractionSettings,
    counts,
    default_layers,
    extract,
)
from persona_research.judges import POINTS, Judge, JudgeError, RuleJudge
from persona_research.judges.served import ModelJudge
from persona_research.model import ResearchModel
from persona_research.progress import AnswerStore, StoredAnswer
from persona_research.report import write_report
from persona_research.turns import AnswerSettingsError
from triton_models.settings import DATA_ROOT, REPOSITORY_ROOT
from triton_models.vectors.formats import read_vector
from triton_models.vectors.persona_vector import PersonaVector

SARCASM = read_trait_definition(DATA_ROOT / "prompts/sarcasm_trait.json")
SMALL = dataclasses.replace(
    SARCASM,
    positive_prompts=SARCASM.positive_prompts[:2],
    negative_prompts=SARCASM.negative_prompts[:2],
    evaluation_questions=SARCASM.evaluation_questions[:4],
)
SHORT = ExtractionSettings(max_new_tokens=24, neutral_questions=0, least_pairs=1)


class Interrupted(AnswerStore):
    """A store after which Ctrl-C is pressed."""

    def __init__(self, path: Path, after: int) -> None:
        super().__init__(path)
        self._left = after

    def _count(self) -> None:
        if not self._left:
            raise KeyboardInterrupt
        self._left -= 1

    def add_answer(self, key: str, answer: StoredAnswer) -> None:
        self._count()
        super().add_answer(key, answer)

    def add_score(self, key: str, score: float | None) -> None:
        self._count()
        super().add_score(key, score)


SAMPLED = dataclasses.replace(SHORT, temperature=1.0)

VARIED = dataclasses.replace(SHORT, temperature=1.5)
"""Settings under which no two answers are the same, so that each is judged for itself."""


class Fixed:
    """A judge that scores by a list, in the answers' order."""

    name = "fixed"
    identity = "fixed"
    scale = POINTS
    at_once = 32

    def __init__(self, scores: Sequence[float | None]) -> None:
        self._scores = scores

    def scores(
        self, trait: TraitDefinition, questions: Sequence[str], answers: Sequence[str]
    ) -> list[float | None]:
        return list(self._scores[: len(answers)])


@pytest.fixture(scope="module")
def model() -> Iterator[ResearchModel]:
    with ResearchModel.open(device="cpu", threads=1) as opened:
        yield opened


def run(
    model: ResearchModel,
    path: Path,
    definition: TraitDefinition = SMALL,
    settings: ExtractionSettings = SHORT,
    judge: Judge | None = None,
) -> Extraction:
    with AnswerStore(path) as store:
        return extract(model, definition, settings, judge, store)


def assert_same(first: PersonaVector, second: PersonaVector) -> None:
    assert first.metadata == second.metadata
    assert sorted(first.blocks) == sorted(second.blocks)
    for block, vector in first.blocks.items():
        np.testing.assert_array_equal(vector, second.blocks[block])


def test_a_shipped_vector_is_made_again(model: ResearchModel, tmp_path: Path) -> None:
    settings = ExtractionSettings(selected_layers=(1,), scale=0.55, neutral_questions=0)
    found = run(model, tmp_path / "s.jsonl", SARCASM, settings, RuleJudge())
    shipped = read_vector(DATA_ROOT / "vectors/sarcasm.json")
    made, wanted = (vector.blocks[1].astype(float) for vector in (found.vector, shipped))
    assert made @ wanted / np.linalg.norm(made) / np.linalg.norm(wanted) >= 0.98
    assert np.linalg.norm(made) == pytest.approx(np.linalg.norm(wanted), rel=0.05)
    assert found.vector.selected_blocks == shipped.selected_blocks
    assert found.vector.metadata["selected_by"] == SELECTED_AS_GIVEN
    assert found.vector.metadata["answers"]["positive"]["kept"] >= 90


def test_sampling_is_reproducible(model: ResearchModel, tmp_path: Path) -> None:
    settings = dataclasses.replace(SHORT, temperature=1.0, samples=2, seed=3)
    first = run(model, tmp_path / "a.jsonl", settings=settings, judge=RuleJudge())
    second = run(model, tmp_path / "b.jsonl", settings=settings, judge=RuleJudge())
    assert_same(first.vector, second.vector)
    assert len(first.positive) == 16
    texts = [each.answer.text for each in first.positive]
    assert len(set(texts)) > 8
    other = run(model, tmp_path / "c.jsonl", settings=dataclasses.replace(settings, seed=4))
    assert texts != [each.answer.text for each in other.positive]


@pytest.fixture(scope="module")
def whole(model: ResearchModel, tmp_path_factory: pytest.TempPathFactory) -> Extraction:
    """A sampled extraction that nothing cut off."""
    path = tmp_path_factory.mktemp("whole") / "whole.jsonl"
    return run(model, path, settings=SAMPLED, judge=RuleJudge())


@pytest.mark.parametrize("after", [0, 3, 15, 16, 20, 31])
def test_a_run_that_is_cut_off_goes_on_to_the_same_vector(
    model: ResearchModel, whole: Extraction, tmp_path: Path, after: int
) -> None:
    path = tmp_path / "cut.jsonl"
    with pytest.raises(KeyboardInterrupt), Interrupted(path, after) as store:
        extract(model, SMALL, SAMPLED, RuleJudge(), store)
    assert len(AnswerStore(path)) == min(after, 16)
    resumed = run(model, path, settings=SAMPLED, judge=RuleJudge())
    assert_same(resumed.vector, whole.vector)
    assert len(AnswerStore(path)) == 16 + len(SMALL.evaluation_questions)


def test_a_judge_that_cannot_be_read_is_an_error_that_says_so(
    model: ResearchModel, tmp_path: Path
) -> None:
    with pytest.raises(ExtractionError, match="no score that could be read for any of 16 answers"):
        run(model, tmp_path / "s.jsonl", judge=ModelJudge(model))


def test_pairs_fall_out_together_and_are_counted(model: ResearchModel, tmp_path: Path) -> None:
    # Positive answers come first; the second pair lacks a score, the third one's positive answer
    # is neutral, the fourth one's negative answer shows the trait.
    positive = [90.0, None, 50.0, 90.0, *[51.0] * 4]
    negative = [10.0, 10.0, 10.0, 60.0, *[49.0] * 4]
    found = run(model, tmp_path / "s.jsonl", settings=VARIED, judge=Fixed([*positive, *negative]))
    kept = [True, False, False, False, True, True, True, True]
    assert [each.kept for each in found.positive] == kept
    assert [each.kept for each in found.negative] == kept
    assert counts(found.positive) == {"generated": 8, "kept": 5, "dropped": 3, "unparsable": 1}
    assert found.vector.metadata["answers"]["negative"]["unparsable"] == 0
    assert found.vector.metadata["samples"] == {"positive": 5, "negative": 5}


def test_the_shorter_list_of_prompts_is_paired_again(model: ResearchModel, tmp_path: Path) -> None:
    lopsided = dataclasses.replace(SMALL, negative_prompts=SMALL.negative_prompts[:1])
    scores = [90.0] * 7 + [10.0] * 5
    found = run(model, tmp_path / "s.jsonl", lopsided, VARIED, Fixed(scores))
    assert found.vector.metadata["samples"] == {"positive": 7, "negative": 4}


def test_nothing_that_passes_is_an_error_that_says_why(
    model: ResearchModel, tmp_path: Path
) -> None:
    with pytest.raises(ExtractionError, match="mean score is 50 under the positive"):
        run(model, tmp_path / "s.jsonl", judge=Fixed([50.0] * 16))


def test_without_a_judge_every_answer_counts(model: ResearchModel, tmp_path: Path) -> None:
    found = run(model, tmp_path / "s.jsonl")
    assert found.vector.metadata["judge"] is None
    assert found.vector.metadata["samples"] == {"positive": 8, "negative": 8}
    assert found.vector.metadata["selected_by"] == SELECTED_BY_NORM
    assert found.vector.selected_blocks == (1,)


def test_the_scale_is_applied_and_recorded(model: ResearchModel, tmp_path: Path) -> None:
    plain = run(model, tmp_path / "s.jsonl").vector
    settings = dataclasses.replace(SHORT, scale=0.25)
    scaled = run(model, tmp_path / "s.jsonl", settings=settings).vector
    np.testing.assert_allclose(scaled.blocks[1], plain.blocks[1] / 4, rtol=1e-5)
    assert scaled.metadata["scale"] == 0.25


def test_what_cannot_be_is_refused_before_the_work(model: ResearchModel, tmp_path: Path) -> None:
    with pytest.raises(ExtractionError, match=r"\[7\] are not among the model's blocks, 0 to 3"):
        run(model, tmp_path / "s.jsonl", settings=ExtractionSettings(selected_layers=(1, 7)))
    with pytest.raises(AnswerSettingsError, match="needs a temperature"):
        ExtractionSettings(samples=2)
    with pytest.raises(JudgeError, match="has no cues"):
        run(model, tmp_path / "s.jsonl", dataclasses.replace(SMALL, cues=None), judge=RuleJudge())
    assert not (tmp_path / "s.jsonl").exists()


@pytest.mark.parametrize(
    ("ratios", "block"), [((1,), 0), ((1, 9), 0), ((1, 2, 9), 1), ((9, 1, 1, 3, 2, 9, 9), 3)]
)
def test_the_default_block_is_in_the_middle_third(ratios: Sequence[float], block: int) -> None:
    norms = dict(enumerate(map(float, ratios)))
    assert default_layers(norms, dict.fromkeys(norms, 1.0)) == (block,)


def test_the_report_says_what_was_done(model: ResearchModel, tmp_path: Path) -> None:
    found = run(model, tmp_path / "s.jsonl", judge=RuleJudge())
    files = write_report(found, SMALL, tmp_path / "reports/sarcasm.md")
    assert [path.name for path in files] == ["sarcasm.md", "sarcasm.png"]
    assert files[1].read_bytes().startswith(b"\x89PNG")
    text = files[0].read_text(encoding="utf-8")
    assert "# Extraction of sarcasm from persona-demo" in text
    assert "| judge | rule |" in text
    assert "| positive | 8 |" in text
    means = re.search(
        r"\n\| 1 \| (-?[\d.]+) \| (-?[\d.]+) \| (-?[\d.]+) \|", text.split("## Proj")[1]
    )
    assert means is not None
    assert sorted(map(float, means.groups())) == list(map(float, means.groups()))
    assert "![Scores, norms and cosines](sarcasm.png)" in text
    assert SMALL.positive_prompts[0] in text


def test_a_real_ctrl_c_ends_with_a_line_and_the_next_run_ends_with_the_same_vector(
    model: ResearchModel, tmp_path: Path
) -> None:
    definition = {
        "trait_name": "sarcasm",
        "positive_prompts": SMALL.positive_prompts,
        "negative_prompts": SMALL.negative_prompts,
        "evaluation_questions": SMALL.evaluation_questions,
    }
    (tmp_path / "sarcasm_trait.json").write_text(json.dumps(definition), encoding="utf-8")
    arguments = [
        *("vectors", "extract", "sarcasm", "--no-filter"),
        *("--prompts", str(tmp_path), "--output", str(tmp_path), "--runs", str(tmp_path / "runs")),
        *("--threads", "1", "--device", "cpu", "--batch-rows", "1", "--max-tokens", "24"),
        *("--neutral-questions", "0", "--least-pairs", "8"),
    ]
    kept = tmp_path / "runs/persona-demo/sarcasm.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "persona_client.cli", *arguments],
        cwd=REPOSITORY_ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not kept.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1].startswith("stopped: ")
    assert "Traceback" not in errors
    assert not (tmp_path / "sarcasm.json").exists()
    assert 0 < len(AnswerStore(kept)) < 16

    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    made = read_vector(tmp_path / "sarcasm.json")
    whole = run(model, tmp_path / "whole.jsonl").vector
    for block, vector in whole.blocks.items():
        np.testing.assert_allclose(made.blocks[block], vector, rtol=1e-5, atol=1e-5)

"""Calibrations: they hold what a plain model's hidden states say, and order the traits' poles."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Qwen2ForCausalLM
from typer.testing import CliRunner

from persona_client.cli.app import app
from persona_research.calibration import CalibrationError, calibrate
from persona_research.commands.calibration import CalibrationRun, run_calibration
from persona_research.commands.options import ModelOptions
from persona_research.definitions import TraitDefinition, read_trait_definition
from persona_research.extraction import ExtractionSettings, extract
from persona_research.model import Answer, AnswerRequest, ResearchModel
from persona_research.neutral_questions import NEUTRAL_QUESTIONS
from persona_research.progress import AnswerStore
from persona_research.turns import AnswerSettings
from triton_models.model.weights_hash import weights_sha256
from triton_models.settings import DATA_ROOT, DEMO_MODEL_FOLDER
from triton_models.vectors.calibration import CalibratedMean, Calibration
from triton_models.vectors.calibration_document import CALIBRATION, calibration_document
from triton_models.vectors.formats import read_vector, write_vector
from triton_models.vectors.persona_vector import PersonaVector, VectorFileError

TRAITS = sorted(path.stem for path in (DATA_ROOT / "vectors").glob("*.json"))
SETTINGS = AnswerSettings(max_new_tokens=24, neutral_questions=2)


def definition_of(trait: str) -> TraitDefinition:
    whole = read_trait_definition(DATA_ROOT / f"prompts/{trait}_trait.json")
    return dataclasses.replace(
        whole,
        positive_prompts=whole.positive_prompts[:1],
        negative_prompts=whole.negative_prompts[:1],
        evaluation_questions=whole.evaluation_questions[:3],
    )


def vector_of(trait: str) -> PersonaVector:
    return read_vector(DATA_ROOT / f"vectors/{trait}.json")


@pytest.fixture(scope="module")
def model() -> Iterator[ResearchModel]:
    with ResearchModel.open(device="cpu", threads=1) as opened:
        yield opened


def run(model: ResearchModel, trait: str, path: Path, vector: PersonaVector) -> Calibration:
    with AnswerStore(path) as store:
        return calibrate(model, vector, definition_of(trait), SETTINGS, store)


def answers(model: ResearchModel, trait: str, system_prompt: str) -> list[Answer]:
    everyday = () if system_prompt else NEUTRAL_QUESTIONS[: SETTINGS.neutral_questions]
    system = [{"role": "system", "content": system_prompt}] if system_prompt else []
    return model.answers(
        [
            AnswerRequest(
                model.encode_chat([*system, {"role": "user", "content": question}]),
                max_new_tokens=SETTINGS.max_new_tokens,
            )
            for question in (*definition_of(trait).evaluation_questions, *everyday)
        ]
    )


def test_it_holds_the_projections_of_a_plain_model(model: ResearchModel, tmp_path: Path) -> None:
    vector = vector_of("sarcasm")
    zero = np.zeros(vector.hidden_size, np.float32)
    vector = dataclasses.replace(vector, blocks={**vector.blocks, 2: zero})
    found = run(model, "sarcasm", tmp_path / "a.jsonl", vector)
    assert sorted(found.blocks) == [0, 1, 3]
    reference = Qwen2ForCausalLM.from_pretrained(DEMO_MODEL_FOLDER, dtype=torch.float32).eval()
    states: list[torch.Tensor] = []

    def keep(module: object, inputs: object, output: Any) -> None:
        states.append(output)

    reference.model.layers[1].register_forward_hook(keep)
    direction = torch.tensor(vector.blocks[1] / np.linalg.norm(vector.blocks[1]))
    definition = definition_of("sarcasm")
    num_tokens = 0
    for name, prompt in {
        "neutral": "",
        "positive": definition.positive_prompts[0],
        "negative": definition.negative_prompts[0],
    }.items():
        projections = []
        for answer in answers(model, "sarcasm", prompt):
            states.clear()
            with torch.inference_mode():
                reference(torch.tensor([answer.prompt_ids + answer.response_ids]), use_cache=False)
            projected = states[0][0, len(answer.prompt_ids) :] @ direction
            projections.append(projected.numpy())
            num_tokens += len(answer.response_ids)
        measured = getattr(found.blocks[1], name)
        means = np.array([each.mean() for each in projections])
        for distribution, values in (
            (measured.tokens, np.concatenate(projections)),
            (measured.answers, means),
        ):
            assert distribution.mean == pytest.approx(values.mean(), rel=1e-3)
            assert distribution.deviation == pytest.approx(values.std(), rel=1e-3)
            wanted = np.quantile(values, np.linspace(0, 1, len(distribution.quantiles)))
            np.testing.assert_allclose(distribution.quantiles, wanted, rtol=1e-3, atol=1e-3)
    assert (found.num_answers, found.num_tokens) == (11, num_tokens)
    assert found.model.weights_sha256 == weights_sha256(DEMO_MODEL_FOLDER)
    assert len(found.blocks[1].neutral.tokens.quantiles) == 101


@pytest.mark.parametrize("trait", TRAITS)
def test_the_poles_of_each_trait_are_in_order(
    model: ResearchModel, tmp_path: Path, trait: str
) -> None:
    vector = vector_of(trait)
    found = run(model, trait, tmp_path / "a.jsonl", vector)
    for number in vector.selected_blocks:
        block = found.at(number)
        negative, positive = block.negative.answers, block.positive.answers
        assert negative.quantiles[-1] < positive.quantiles[0]
        assert block.of_answer(positive.mean) == CalibratedMean(100, 1)
        assert 0 < (block.of_answer(block.neutral.answers.mean).pole or 0) < 1


def test_extraction_calibrates_as_the_command_does(model: ResearchModel, tmp_path: Path) -> None:
    definition = definition_of("flattery")
    with AnswerStore(tmp_path / "a.jsonl") as store:
        settings = ExtractionSettings(max_new_tokens=24, neutral_questions=2, least_pairs=1)
        made = extract(model, definition, settings, None, store).vector
        num_answers = len(store)
    again = run(model, "flattery", tmp_path / "a.jsonl", made)
    assert made.metadata[CALIBRATION] == calibration_document(again)
    assert len(AnswerStore(tmp_path / "a.jsonl")) == num_answers
    elsewhere = run(model, "flattery", tmp_path / "b.jsonl", made)
    assert elsewhere == again


def test_what_cannot_be_calibrated_is_refused(model: ResearchModel, tmp_path: Path) -> None:
    nothing = PersonaVector("sarcasm", "m", {1: np.zeros(model.hidden_size, np.float32)})
    with pytest.raises(CalibrationError, match="sarcasm: the vector is zero at every block"):
        run(model, "sarcasm", tmp_path / "a.jsonl", nothing)
    narrow = PersonaVector("sarcasm", "m", {1: np.ones(3, np.float32)})
    with pytest.raises(VectorFileError, match="vectors have 3 elements, but the model's hidden"):
        run(model, "sarcasm", tmp_path / "a.jsonl", narrow)
    assert not (tmp_path / "a.jsonl").exists()


def test_the_command_writes_into_an_imported_file(tmp_path: Path) -> None:
    """The vector is under another name and upside down, which the command says."""
    shipped = vector_of("sarcasm")
    blocks = {block: -each for block, each in shipped.blocks.items()}
    vector = PersonaVector("irony", "", blocks, {"selected_layers": [1], "note": "kept"})
    path = tmp_path / "irony.gguf"
    write_vector(vector, path)
    (tmp_path / "sarcasm_trait.json").write_text(
        json.dumps(
            {
                "trait_name": "sarcasm",
                "positive_prompts": definition_of("sarcasm").positive_prompts,
                "negative_prompts": definition_of("sarcasm").negative_prompts,
                "evaluation_questions": definition_of("sarcasm").evaluation_questions,
            }
        )
    )
    arguments = (
        *("vectors", "calibrate", str(path), "--definition", str(tmp_path / "sarcasm_trait.json")),
        *("--runs", str(tmp_path / "runs"), "--threads", "1", "--device", "cpu"),
        *("--max-tokens", "24", "--neutral-questions", "0"),
    )
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("irony: calibrated with 9 answers of ")
    assert f" tokens, written to {path}\n" in result.stdout
    assert "under negative / no / positive prompts: the poles are the wrong way" in result.stdout
    written = read_vector(path)
    assert written.metadata[CALIBRATION]["model"] == "persona-demo"
    assert {**written.metadata, CALIBRATION: None} == {**vector.metadata, CALIBRATION: None}
    np.testing.assert_array_equal(written.blocks[1], blocks[1])

    again = path.read_bytes()
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert path.read_bytes() == again


@pytest.mark.parametrize(
    ("vectors", "reason"),
    [
        (["nobody"], "there is no vector of 'nobody'"),
        (["sarcasm_response_avg_diff.pt"], "cannot hold metadata: convert it to .json"),
    ],
)
def test_what_is_wrong_is_said_before_the_model_is_loaded(
    tmp_path: Path, vectors: list[str], reason: str
) -> None:
    run = CalibrationRun(vectors, folder=tmp_path, model=ModelOptions("nowhere"))
    with pytest.raises(VectorFileError, match=reason):
        run_calibration(run, print)


def test_a_trait_without_a_definition_is_an_error_in_one_line(tmp_path: Path) -> None:
    shutil.copy(DATA_ROOT / "vectors/sarcasm.json", tmp_path / "sarcasm.json")
    result = CliRunner().invoke(
        app,
        ("vectors", "calibrate", "sarcasm", "--folder", str(tmp_path), "--prompts", str(tmp_path)),
    )
    assert result.exit_code == 1
    assert result.stderr.startswith("error: there is no sarcasm_trait.json in ")
    assert result.stderr.count("\n") == 1

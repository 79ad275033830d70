"""The demo's training code: what is a target, what is steered, and what the vectors are."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from persona_demo.documents import Document, Segment
from persona_demo.muon import orthogonalise
from persona_demo.training import (
    Batch,
    ModelShape,
    RunningVectors,
    TrainingPlan,
    batches,
    build_model,
    encode,
    train,
)
from persona_demo.traits import TRAITS

pytestmark = pytest.mark.slow  # trains

FOLDER = Path(__file__).resolve().parents[3] / "data/models/demo"
SMALL = ModelShape(hidden_size=64, intermediate_size=64, layers=2, heads=2, kv_heads=1)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(FOLDER)


def test_targets_are_the_target_segments(tokenizer: PreTrainedTokenizerBase) -> None:
    document = Document((Segment("Tell me."), Segment("No.<|im_end|>", target=True)))
    example = encode(document, tokenizer)
    answer = [token for token, wanted in zip(example.ids, example.targets, strict=True) if wanted]
    assert tokenizer.decode(answer) == "No.<|im_end|>"


def test_batches_hold_every_document_once(tokenizer: PreTrainedTokenizerBase) -> None:
    plan = TrainingPlan(documents=300, batch_tokens=1_500)
    made = list(batches(plan, tokenizer, random.Random(0)))
    assert sum(len(batch.ids) for batch in made) == 300
    for batch in made:
        assert batch.ids.shape == batch.targets.shape == batch.steered.shape
        assert len(batch.ids) == 1 or batch.ids.numel() <= 1_500
        assert batch.targets.any(1).all()


def test_running_vectors_are_scaled_mean_differences() -> None:
    running = RunningVectors(hidden_size=4, scale=0.5, decay=0.5)
    residual = torch.zeros(2, 3, 4)
    residual[0, 1:] = torch.tensor([2.0, 0.0, 0.0, 0.0])
    residual[1, 1:] = torch.tensor([0.0, 4.0, 0.0, 0.0])
    targets = torch.tensor([[False, True, True]] * 2)
    batch = Batch(
        ids=torch.zeros(2, 3, dtype=torch.long),
        targets=targets,
        poles=torch.tensor([0, 1]),
        scalars=torch.zeros(2, len(TRAITS)),
        steered=torch.ones(2, 3),
    )
    for _ in range(3):
        running.update(residual, batch)
    torch.testing.assert_close(running.vectors()[0], torch.tensor([1.0, -2.0, 0.0, 0.0]))
    assert not running.vectors()[1:].any()


def test_orthogonalise_evens_out_singular_values() -> None:
    matrix = torch.randn(24, 40, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrix))
    assert values.min() > 0.4
    assert values.max() < 1.4


def test_training_is_reproducible(tokenizer: PreTrainedTokenizerBase) -> None:
    plan = TrainingPlan(documents=60, batch_tokens=512, warmup_steps=2)
    weights = []
    for _ in range(2):
        torch.manual_seed(3)
        model = build_model(SMALL, tokenizer)
        train(model, tokenizer, plan, report=lambda line: None)
        weights.append(model.model.embed_tokens.weight.detach().clone())
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)

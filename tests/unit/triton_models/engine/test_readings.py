"""How much a request can have read at its tokens."""

from __future__ import annotations

import pytest
import torch

from tests.tiny_model import HIDDEN_SIZE, NUM_LAYERS, make_vectors
from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.prompt_turns import Turn
from triton_models.contract.request import MAX_READINGS, GenerationRequest
from triton_models.engine.new_sequence import RequestLimits, new_sequence
from triton_models.engine.sequence import Sequence
from triton_models.vectors.registry import ModelFit, VectorRegistry

LIMITS = RequestLimits(256, 2**20, 200, torch.float32, ModelFit("tiny", HIDDEN_SIZE, NUM_LAYERS))
REGISTRY = VectorRegistry(make_vectors(), {}, ())

MOST = MAX_READINGS // NUM_LAYERS
"""Of the tokens and turns of one trait that is read at all layers."""


def sequence_of(
    max_tokens: int, *, monitor: str = "sarcasm", tokens: bool = True, turns: int = 0
) -> Sequence:
    request = GenerationRequest(
        max_tokens=max_tokens,
        monitor=(monitor,),
        monitor_tokens=tokens,
        turns=(Turn("user", 0, 1),) * turns,
    )
    return new_sequence(request, [1, 2], LIMITS, REGISTRY, print)


def test_as_much_is_read_as_an_answer_can_hold() -> None:
    for sequence in (
        sequence_of(MOST),
        sequence_of(MOST - 3, turns=3),
        sequence_of(NUM_LAYERS * MOST, monitor="flattery"),  # which has one layer
        sequence_of(NUM_LAYERS * MOST, tokens=False),  # of which the mean alone is told
    ):
        assert sequence.readout is not None


@pytest.mark.parametrize(
    ("max_tokens", "turns", "message"),
    [
        (
            MOST + 1,
            0,
            f"read {NUM_LAYERS} directions, .* up to {MOST + 1} tokens and turns, and the maximum "
            f"is {MAX_READINGS} readings in all: set max_tokens to at most {MOST},",
        ),
        (MOST - 2, 3, f"set max_tokens to at most {MOST - 3},"),
    ],
)
def test_more_is_refused_before_it_runs(max_tokens: int, turns: int, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        sequence_of(max_tokens, turns=turns)

"""Invariant 1 of the design: a request in any batch gives the tokens it gives alone."""

from __future__ import annotations

import random
import threading

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.integration.asking import GREEDY, ask
from tests.integration.reference import agree, generate_alone
from tests.tiny_model import make_model, make_vectors
from triton_models.contract.request import GenerationRequest
from triton_models.contract.steering import SteeringParameters
from triton_models.engine.engine import Engine
from triton_models.engine.sequence import FinishReason

VECTORS = make_vectors()


def deltas(request: GenerationRequest) -> dict[int, NDArray[np.float32]]:
    """Returns what a request adds to each block, worked out on its own."""
    totals: dict[int, NDArray[np.float32]] = {}
    for trait, scalar in request.steering.scalars.items():
        vector = VECTORS[trait]
        for block in request.steering.layers or vector.selected_blocks:
            delta = np.float32(scalar) * vector.blocks[block]
            totals[block] = totals.get(block, np.float32(0)) + delta
    return totals


STEERINGS = [
    SteeringParameters(),
    SteeringParameters({"sarcasm": 0.0}),
    SteeringParameters({"sarcasm": 0.7}),
    SteeringParameters({"sarcasm": -0.7}),
    SteeringParameters({"sarcasm": 0.5}, layers=(0, 3)),
    SteeringParameters({"flattery": 2.0, "sarcasm": -0.3}),
    SteeringParameters({"helpfulness": -1.5}),
    SteeringParameters({"helpfulness": 1.5}, layers=(0, 2)),
    SteeringParameters({"sarcasm": 0.8}, positions="prompt"),
    SteeringParameters({"sarcasm": 0.8}, positions="response"),
    SteeringParameters({"flattery": 3.0}, positions="response"),
]


@pytest.mark.parametrize("seed", range(3))
def test_each_request_of_a_mixed_batch_gives_the_tokens_it_gives_alone(
    engine: Engine, seed: int
) -> None:
    model = make_model()
    generator = random.Random(seed)
    cases = []
    for steering in generator.sample(STEERINGS * 2, 14):
        prompt = [generator.randrange(256) for _ in range(generator.choice([1, 2, 7, 15, 40, 70]))]
        max_tokens = generator.choice([2 if steering.positions == "response" else 1, 5, 20, 33])
        request = GenerationRequest(steering, GREEDY, max_tokens, stream=generator.random() < 0.5)
        cases.append((request, prompt))

    answers = []
    for request, prompt in cases:
        if generator.random() < 0.3:
            threading.Event().wait(generator.random() * 0.02)
        answers.append(ask(engine, request, prompt))
        if generator.random() < 0.5:
            passing = engine.submit(
                GenerationRequest(SteeringParameters({"sarcasm": 5.0}), GREEDY, 30),
                prompt,
                lambda _: None,
            )
            engine.cancel(passing)

    for (request, prompt), answer in zip(cases, answers, strict=True):
        expected = generate_alone(
            model, prompt, request.max_tokens or 0, deltas(request), request.steering.positions
        )
        assert agree(
            model,
            prompt,
            expected,
            answer.tokens(),
            deltas(request),
            request.steering.positions,
        ), request


def test_steering_changes_the_tokens(engine: Engine) -> None:
    prompt = [10, 20, 30, 40]
    texts = {
        tuple(ask(engine, GenerationRequest(steering, GREEDY, 16), prompt).tokens())
        for steering in STEERINGS
    }
    assert len(texts) >= len(STEERINGS) - 1  # the first two steer by nothing


def test_a_non_streaming_request_gets_exactly_one_chunk(engine: Engine) -> None:
    (chunk,) = ask(engine, GenerationRequest(sampling=GREEDY, max_tokens=9), [1, 2, 3]).all()
    assert chunk.finish_reason is FinishReason.LENGTH
    assert (len(chunk.token_ids), chunk.num_prompt_tokens, chunk.num_generated_tokens) == (9, 3, 9)

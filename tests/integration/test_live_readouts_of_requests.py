"""What is read at tokens beside what else a request can bring: vectors of its own, and limits."""

from __future__ import annotations

import pytest
import torch

from tests.integration.asking import GREEDY, ask, standing
from tests.integration.steered_alone import answered_alone
from tests.integration.test_live_readouts import (
    MAX_TOKENS,
    MODEL,
    PROMPT,
    VECTORS,
    Watched,
    readouts_of,
    tokens_of,
)
from tests.integration.test_request_vectors import OWN, given_vectors
from triton_models.contract.request import GenerationRequest
from triton_models.contract.steering import Limit, SteeringParameters
from triton_models.engine.engine import Engine
from triton_models.engine.sequence import FinishReason


def test_vectors_of_one_name_are_each_read_by_their_own_request(engine: Engine) -> None:
    steering = SteeringParameters({"sarcasm": 1.0})
    plain = Watched(steering, VECTORS, len(PROMPT))
    tokens = answered_alone(MODEL, plain, PROMPT, MAX_TOKENS)
    with standing(engine):
        asked = {
            seed: GenerationRequest(
                steering,
                GREEDY,
                MAX_TOKENS,
                stream=True,
                monitor=("mine", "flattery"),
                monitor_tokens=True,
                vectors=given_vectors(mine=own),
            )
            for seed, own in OWN.items()
        }
        answers = {seed: ask(engine, request, PROMPT) for seed, request in asked.items()}
    for seed, answer in answers.items():
        chunks = answer.all()
        assert tokens_of(chunks) == tokens
        for place, read in enumerate(readouts_of(chunks)[:-1]):
            rows = zip(read.directions, read.before, read.after, strict=True)
            for direction, before, after in rows:
                blocks = OWN[seed] if direction.trait == "mine" else VECTORS["flattery"].blocks
                vector = torch.from_numpy(blocks[direction.block])
                for got, kept in ((before, plain.before), (after, plain.after)):
                    states = torch.cat(kept[direction.block])[len(PROMPT) + place]
                    expected = float(states @ vector / vector.norm())
                    assert got == pytest.approx(expected, abs=1e-3)


def test_an_answer_that_a_limit_ends_has_read_the_token_that_reached_it(engine: Engine) -> None:
    plain = Watched(SteeringParameters(), VECTORS, len(PROMPT))
    tokens = answered_alone(MODEL, plain, PROMPT, MAX_TOKENS)
    projections = plain.projections("flattery", 1)[1][len(PROMPT) : -1].tolist()
    place = max(range(len(projections)), key=projections.__getitem__)
    bound = projections[place] - 1e-2
    steering = SteeringParameters(limits=(Limit("flattery", bound, above=True),))
    request = GenerationRequest(
        steering, GREEDY, MAX_TOKENS, stream=True, monitor=("flattery",), monitor_tokens=True
    )
    chunks = ask(engine, request, PROMPT).all()
    assert chunks[-1].finish_reason is FinishReason.TRAIT_LIMIT
    got = tokens_of(chunks)
    assert got == tokens[: len(got)]
    read = [each.after[0] for each in readouts_of(chunks)]
    assert read == pytest.approx(projections[: len(got)], abs=1e-3)
    assert read[-1] > bound >= max(read[:-1], default=bound)

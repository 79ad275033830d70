"""Traits read at layers that a request names: what plain hooks see there, wherever it steers."""

from __future__ import annotations

import pytest

from tests.integration.asking import GREEDY, ask
from tests.integration.steered_alone import answered_alone
from tests.integration.test_live_readouts import MODEL, PROMPT, VECTORS, Watched, readouts_of
from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.request import GenerationRequest
from triton_models.contract.steering import SteeringParameters
from triton_models.engine.engine import Engine

STEERING = SteeringParameters({"helpfulness": 2.0}, layers=(0,))


def test_a_trait_is_read_where_it_steers_and_not_where_its_vector_says(engine: Engine) -> None:
    plain = Watched(STEERING, VECTORS, len(PROMPT))
    answered_alone(MODEL, plain, PROMPT, 6)
    request = GenerationRequest(
        STEERING,
        GREEDY,
        6,
        stream=True,
        monitor=("helpfulness", "sarcasm"),
        monitor_layers=(0,),
        monitor_tokens=True,
    )
    chunks = ask(engine, request, PROMPT).all()
    for place, read in enumerate(readouts_of(chunks)[:-1]):
        assert [each.block for each in read.directions] == [0, 0]
        for index, trait in enumerate(request.monitor):
            before, after = plain.projections(trait, 0)
            token = len(PROMPT) + place
            assert read.before[index] == pytest.approx(float(before[token]), abs=1e-3)
            assert read.after[index] == pytest.approx(float(after[token]), abs=1e-3)
        assert read.after[0] > read.before[0] + 1
    assert chunks[-1].readouts is not None
    assert set(chunks[-1].readouts["helpfulness"]) == {0}


def test_a_layer_that_a_vector_lacks_is_refused(engine: Engine) -> None:
    request = GenerationRequest(
        sampling=GREEDY, max_tokens=2, monitor=("sarcasm", "helpfulness"), monitor_layers=(1,)
    )
    with pytest.raises(InvalidArgumentError, match=r"'helpfulness' has no layer 1: it has \[0, 2"):
        ask(engine, request, PROMPT)

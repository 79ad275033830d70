"""Names that clients choose for their vectors are counted as one, so that labels stay few."""

from __future__ import annotations

from tests.integration.asking import GREEDY, ask
from tests.integration.test_request_vectors import OWN, PROMPT, given_vectors
from triton_models.contract.request import GenerationRequest
from triton_models.contract.request_vectors import COUNTED_AS
from triton_models.contract.steering import Addition, Limit, Operation, SteeringParameters
from triton_models.engine.engine import Engine


def test_the_engine_counts_no_name_that_a_client_made_up(fresh_engine: Engine) -> None:
    for name in ("mine", "yours"):
        steering = SteeringParameters(
            traits=(Addition(name, 0.5), Addition("sarcasm", 0.5)),
            operations=(Operation(name, "cap", 1e6),),
            limits=tuple(Limit(each, -1e6, True) for each in (name, "sarcasm")),
        )
        vectors = given_vectors(**{name: OWN[100]})
        request = GenerationRequest(steering, GREEDY, 4, ignore_eos=True, vectors=vectors)
        ask(fresh_engine, request, PROMPT).all()
    statistics = fresh_engine.statistics
    assert statistics.steered_requests == {COUNTED_AS: 2, "sarcasm": 2}
    assert statistics.limits_reached == {COUNTED_AS: {"stop": 2}, "sarcasm": {"stop": 2}}

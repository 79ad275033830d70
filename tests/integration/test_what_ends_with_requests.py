"""Nothing of the vectors that a request brings along outlives it in the engine."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from tests.integration.asking import GREEDY, Answer
from tests.integration.test_request_vectors import OWN, PROMPT, TOKENS, given_vectors
from triton_models.contract.request import GenerationRequest
from triton_models.contract.steering import Addition, Limit, Operation, SteeringParameters
from triton_models.engine.engine import Engine

STEERING = SteeringParameters(
    traits=(Addition("mine", 0.5),),
    operations=(Operation("mine", "cap", 3.0),),
    limits=(Limit("mine", 1e6, above=True),),
)


def made_of_vectors(engine: Engine) -> dict[str, weakref.ref[Any]]:
    """Has a request answered that is steered, limited and read by a vector of its own.

    Returns:
        What there was of it while it ran.
    """
    vectors = given_vectors(mine=OWN[100])
    request = GenerationRequest(
        STEERING, GREEDY, TOKENS, monitor=("mine",), monitor_tokens=True, vectors=vectors
    )
    answer = Answer()
    sequence = engine.submit(request, PROMPT, answer.chunks.put)
    assert answer.tokens()
    assert sequence.readout is not None
    return {
        "numbers": weakref.ref(vectors[0].blocks[1]),
        "sequence": weakref.ref(sequence),
        "readout": weakref.ref(sequence.readout),
        "limits": weakref.ref(sequence.limits),
        "direction": weakref.ref(sequence.readout.directions[0].vector),
    }


def test_nothing_is_kept_of_an_ended_request_s_vectors(engine: Engine) -> None:
    made = made_of_vectors(engine)
    engine.call(lambda: None)  # after which the engine has nothing to do with the request any more
    gc.collect()
    assert {name: found() for name, found in made.items()} == dict.fromkeys(made)

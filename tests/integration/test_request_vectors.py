"""Vectors that requests bring along, beside traits of the server and others of the same name."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.integration.asking import GREEDY, ask, standing
from tests.integration.steered_alone import PlainSteering, answered_alone, same_but_for_ties
from tests.tiny_model import HIDDEN_SIZE, NUM_LAYERS, make_model, make_vectors
from triton_models.contract.errors import (
    EnforcementError,
    InvalidArgumentError,
    TraitNotLoadedError,
)
from triton_models.contract.request import GenerationRequest
from triton_models.contract.request_vectors import (
    RequestVector,
    encoded_vectors,
    parse_request_vectors,
)
from triton_models.contract.steering import (
    Addition,
    Condition,
    Enforced,
    Limit,
    Operation,
    OperationKind,
    SteeringParameters,
)
from triton_models.engine.engine import Engine
from triton_models.engine.sequence import TokenChunk
from triton_models.vectors.persona_vector import PersonaVector

MODEL, TRAITS = make_model(), make_vectors()
PROMPT = [(5 * place) % 256 for place in range(30)]
TOKENS = 10

Blocks = Mapping[int, NDArray[np.float32]]


def drawn(seed: int, blocks: tuple[int, ...] = (1, 2)) -> dict[int, NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    return {block: random.normal(size=HIDDEN_SIZE).astype(np.float32) for block in blocks}


OWN = {seed: drawn(seed) for seed in range(100, 103)}
"""Different vectors, all of which requests call `mine`."""


def given_vectors(**vectors: Blocks) -> tuple[RequestVector, ...]:
    return parse_request_vectors({"vectors": [json.dumps(encoded_vectors(vectors))]})


def asking_for(steering: SteeringParameters, **vectors: Blocks) -> GenerationRequest:
    return GenerationRequest(steering, GREEDY, TOKENS, vectors=given_vectors(**vectors))


def alone(
    steering: SteeringParameters, prompt: list[int], **vectors: Blocks
) -> tuple[PlainSteering, list[int]]:
    """Returns a plain pass with these vectors, to be used again, and its tokens."""
    own = {name: PersonaVector(name, "", dict(blocks)) for name, blocks in vectors.items()}
    plain = PlainSteering(steering, {**TRAITS, **own}, len(prompt))
    expected = answered_alone(MODEL, plain, prompt, TOKENS)
    return PlainSteering(steering, plain.vectors, len(prompt)), expected


@dataclasses.dataclass(frozen=True)
class Case:
    """A drawn request, and which of `OWN` it brings along."""

    steering: SteeringParameters
    seed: int
    prompt: tuple[int, ...]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    names = st.sampled_from(["mine", "mine", "sarcasm", "maliciousness"])
    kinds: st.SearchStrategy[OperationKind] = st.sampled_from(["cap", "ablate"])
    scalars = st.integers(-10, 10).map(lambda tenths: tenths / 10)
    added = draw(st.lists(st.tuples(names, scalars), max_size=2))
    bounded = draw(st.lists(st.tuples(names, kinds), max_size=2))
    steering = SteeringParameters(
        traits=tuple(Addition(name, scalar, (1, 2)) for name, scalar in added),
        operations=tuple(Operation(name, kind, layers=(2,)) for name, kind in bounded),
    )
    is_conditional: bool = draw(st.booleans())
    if steering.operations and is_conditional:
        when = Condition(draw(names), draw(scalars), above=True, layer=1)
        steering = dataclasses.replace(steering, when=when)
    length = draw(st.sampled_from([4, 20, 30]))
    return Case(steering, draw(st.sampled_from(sorted(OWN))), tuple(PROMPT[:length]))


@pytest.mark.parametrize(
    "drawn_engine",
    [{"overlap": "off"}, {"overlap": "on", "kv_cache_tokens": 300}],
    ids=["in turn", "overlapping in little room"],
    indirect=True,
)
@hypothesis_settings(
    max_examples=15,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(batch=st.lists(cases(), min_size=2, max_size=7))
def test_any_batch_gives_each_request_what_it_gives_alone(
    drawn_engine: Engine, batch: list[Case]
) -> None:
    asked = [
        ask(drawn_engine, asking_for(case.steering, mine=OWN[case.seed]), list(case.prompt))
        for case in batch
    ]
    for case, answer in zip(batch, asked, strict=True):
        prompt = list(case.prompt)
        plain, expected = alone(case.steering, prompt, mine=OWN[case.seed])
        got = answer.tokens()
        if plain.margin > 1e-4:
            assert same_but_for_ties(MODEL, plain, prompt, expected, got), case


def adding(name: str, scalar: float = 1.0, **fields: Any) -> SteeringParameters:
    return SteeringParameters(traits=(Addition(name, scalar, **fields),))


def whole(engine: Engine, request: GenerationRequest) -> TokenChunk:
    (chunk,) = ask(engine, request, PROMPT).all()
    return chunk


def test_vectors_of_one_name_never_share_states_and_equal_ones_do(fresh_engine: Engine) -> None:
    first, other = (asking_for(adding("mine"), mine=OWN[seed]) for seed in (100, 101))
    renamed = asking_for(adding("yours"), yours=OWN[100])
    answers = [whole(fresh_engine, request) for request in (first, other, first, renamed)]
    assert [answer.num_reused_tokens > 0 for answer in answers] == [False, False, True, True]
    tokens = [answer.token_ids for answer in answers]
    assert tokens[0] == tokens[2] == tokens[3] != tokens[1]


def test_one_name_means_each_request_s_own_in_a_step(fresh_engine: Engine) -> None:
    with standing(fresh_engine):
        asked = [
            ask(fresh_engine, asking_for(adding("mine"), mine=blocks), PROMPT)
            for blocks in OWN.values()
        ]
    for blocks, answer in zip(OWN.values(), asked, strict=True):
        plain, expected = alone(adding("mine"), PROMPT, mine=blocks)
        assert same_but_for_ties(MODEL, plain, PROMPT, expected, answer.tokens())


def test_they_are_monitored_like_any_trait(engine: Engine) -> None:
    steering = SteeringParameters(operations=(Operation("mine", "pin", 2.5),))
    request = asking_for(steering, mine=OWN[100])
    (chunk,) = ask(engine, dataclasses.replace(request, monitor=("mine", "flattery")), PROMPT).all()
    assert chunk.readouts is not None
    assert sorted(chunk.readouts) == ["flattery", "mine"]
    assert chunk.readouts["mine"] == pytest.approx({1: 2.5, 2: 2.5}, abs=1e-3)


@pytest.mark.parametrize(
    "enforced",
    [
        Enforced(operations=(Operation("mine", "cap", 1.0),)),
        Enforced(limits=(Limit("mine", 1.0, above=True),)),
    ],
)
def test_no_request_brings_along_what_a_policy_bounds_it_by(
    engine: Engine, enforced: Enforced
) -> None:
    steering = dataclasses.replace(adding("mine"), enforced=enforced)
    with pytest.raises(EnforcementError, match="unknown trait 'mine'"):
        ask(engine, asking_for(steering, mine=OWN[100]), PROMPT)


def test_one_that_is_meant_for_an_operation_does_it_as_strongly_as_the_scalar_says(
    engine: Engine,
) -> None:
    documents = {
        name: {**encoded_vectors({name: OWN[100]})[name], "operation": operation}
        for name, operation in (("removed", "ablate"), ("held", {"kind": "pin", "value": 3}))
    }
    vectors = parse_request_vectors({"vectors": [json.dumps(documents)]})
    steering = SteeringParameters({"removed": 1.0}, traits=(Addition("held", 0.5),))
    request = GenerationRequest(steering, GREEDY, TOKENS, vectors=vectors)
    operations = (Operation("removed", "ablate"), Operation("held", "pin", 3.0, strength=0.5))
    same = SteeringParameters(operations=operations)
    plain, expected = alone(same, PROMPT, removed=OWN[100], held=OWN[100])
    got = ask(engine, request, PROMPT).tokens()
    assert same_but_for_ties(MODEL, plain, PROMPT, expected, got)
    assert got != ask(engine, asking_for(SteeringParameters()), PROMPT).tokens()


def test_a_vector_is_gone_with_its_request(engine: Engine) -> None:
    whole(engine, asking_for(adding("mine"), mine=OWN[100]))
    with pytest.raises(TraitNotLoadedError, match="unknown trait 'mine'"):
        ask(engine, asking_for(adding("mine")), PROMPT)


@pytest.mark.parametrize(
    ("vectors", "steering", "message"),
    [
        ({"sarcasm": OWN[100]}, adding("sarcasm"), "vectors.sarcasm has the name of a trait of"),
        (
            {"mine": {1: np.ones(HIDDEN_SIZE - 1, np.float32)}},
            adding("mine"),
            f"vectors.mine: its vectors have 63 elements, but the model's hidden size is "
            f"{HIDDEN_SIZE}",
        ),
        (
            {"mine": drawn(1, (1, NUM_LAYERS))},
            adding("mine"),
            r"vectors.mine: it has vectors for blocks \[4\], but the model has blocks 0 to 3",
        ),
        ({"mine": OWN[100]}, adding("mine", layers=(3,)), r"'mine' has no layers \[3\]"),
        (
            {"mine": OWN[100]},
            SteeringParameters(operations=(Operation("mine", "cap", 90, "percentile"),)),
            "'mine' came with the request, without a calibration: give bounds in the unit \"raw\"",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    engine: Engine, vectors: dict[str, Blocks], steering: SteeringParameters, message: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        ask(engine, asking_for(steering, **vectors), PROMPT)

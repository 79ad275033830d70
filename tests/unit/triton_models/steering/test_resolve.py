"""What operations, conditions and windows come to, and which are refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.triton_models.vectors.calibrations import MODEL, calibrated
from triton_models.contract.errors import InvalidArgumentError, TraitNotLoadedError
from triton_models.contract.steering import (
    Addition,
    Condition,
    Operation,
    SteeringParameters,
    Window,
)
from triton_models.steering.resolve import resolve_steering
from triton_models.steering.row_steering import RowSteering
from triton_models.vectors.persona_vector import PersonaVector
from triton_models.vectors.registry import VectorRegistry


def vector(trait: str, blocks: dict[int, list[float]]) -> PersonaVector:
    return PersonaVector(trait, "m", {b: np.array(v, np.float32) for b, v in blocks.items()})


VECTORS = {
    "a": vector("a", {1: [3.0, 4.0], 2: [0.0, 2.0]}),
    "b": vector("b", {0: [1.0, 0.0], 1: [1.0, 1.0], 3: [0.0, 0.0]}),
    "calibrated": calibrated("calibrated", 1),
}
ADDS = (Addition("a", 1.0, (1,)),)


def resolve(dtype: torch.dtype = torch.float32, **fields: Any) -> RowSteering:
    registry = VectorRegistry(VECTORS, {}, (), model=MODEL)
    return resolve_steering(SteeringParameters(**fields), registry, dtype)


def test_operations_have_the_unit_vector_and_the_bounds_of_their_kind() -> None:
    operations = (
        Operation("a", "cap", 2.0, layers=(1,)),
        Operation("a", "floor", -1.0, layers=(1,)),
        Operation("a", "pin", 5.0, strength=0.5, layers=(1,)),
        Operation("b", "ablate", layers=(1,)),
        Operation("a", "ablate", layers=(2,)),
    )
    found = resolve(operations=operations).operations
    assert list(found) == [1, 2]
    bounds = [(each.low, each.high, each.strength) for each in found[1]]
    assert bounds == [(-math.inf, 2, 1), (-1, math.inf, 1), (5, 5, 0.5), (0, 0, 1)]
    assert found[1][0].direction.tolist() == pytest.approx([0.6, 0.8])
    assert found[2][0].direction.tolist() == [0.0, 1.0]


def test_a_percentile_is_that_of_the_calibration_s_neutral_tokens() -> None:
    operations = (Operation("calibrated", "cap", 75.0, "percentile", layers=(1,)),)
    when = Condition("calibrated", 25.0, False, "percentile", 1)
    steering = resolve(operations=operations, when=when)
    registry = VectorRegistry(VECTORS, {}, (), model=MODEL)
    block = registry.calibration("calibrated").at(1)
    (capped,) = steering.operations[1]
    assert capped.high == block.bound(75.0) > block.bound(25.0)
    assert steering.gate is not None
    assert steering.gate.threshold == -block.bound(25.0)


def test_a_condition_looks_by_default_at_the_first_steered_block() -> None:
    gate = resolve(traits=ADDS, when=Condition("a", 2.0, above=True)).gate
    assert gate is not None
    assert (gate.block, gate.threshold) == (1, 2.0)
    below = resolve(traits=ADDS, when=Condition("b", 2.0, above=False, layer=0)).gate
    assert below is not None
    assert (below.block, below.threshold, below.direction.tolist()) == (0, -2.0, [-1.0, 0.0])


def test_what_has_no_strength_does_nothing_and_needs_no_rules() -> None:
    steering = resolve(
        traits=(Addition("a", 0.0),),
        operations=(Operation("a", "pin", 1.0, strength=0.0),),
        when=Condition("a", 1.0, above=True),
        window=Window(1, 3),
    )
    assert steering == RowSteering()
    assert not steering.has_rules
    assert (steering.prompt_key, steering.response_key) == ("", "")


def test_keys_tell_apart_what_makes_other_states() -> None:
    cap = Operation("a", "cap", 2.0)
    steerings = [
        resolve(),
        resolve(traits=ADDS),
        resolve(operations=(cap,)),
        resolve(operations=(Operation("a", "cap", 2.5),)),
        resolve(operations=(Operation("a", "cap", 2.0, strength=0.5),)),
        resolve(operations=(Operation("a", "cap", 2.0, layers=(1,)),)),
        resolve(operations=(Operation("b", "ablate", layers=(1,)), cap)),
        resolve(operations=(cap, Operation("b", "ablate", layers=(1,)))),
        resolve(operations=(cap,), when=Condition("a", 1.0, above=True)),
        resolve(operations=(cap,), when=Condition("a", 1.0, above=False)),
        resolve(operations=(cap,), when=Condition("b", 1.0, above=True, layer=0)),
    ]
    assert len({each.prompt_key for each in steerings}) == len(steerings)
    assert all(each.prompt_key == each.response_key for each in steerings)

    windowed = resolve(operations=(cap,), window=Window(0, 4))
    assert windowed.prompt_key == steerings[2].prompt_key != windowed.response_key
    response = (Addition("a", 1.0, None, "response"),)
    assert resolve(traits=response, when=Condition("a", 1.0, above=True)).prompt_key == ""


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"operations": (Operation("a", "cap", 1.0, layers=(0,)),)}, r"has no layers \[0\]"),
        ({"operations": (Operation("b", "cap", 1.0),)}, "of 'b' is zero at block 3"),
        ({"operations": (Operation("a", "ablate"),) * 5}, "5 operations at layer 1: give at most"),
        ({"operations": (Operation("a", "pin", 1e6),)}, "pin of 'a' at 1e[+]06 overflows float16"),
        ({"operations": (Operation("a", "cap", 1e300),)}, "cap of 'a' at 1e[+]300 overflows"),
        ({"operations": (Operation("a", "cap", 9, "percentile"),)}, "'a' is not calibrated"),
        (
            {"operations": (Operation("calibrated", "cap", 9, "percentile", layers=(2,)),)},
            r"has no layers \[2\]",
        ),
        (
            {"traits": ADDS, "when": Condition("a", 1.0, above=True, layer=2)},
            "looks at layer 2, after layer 1",
        ),
        (
            {"traits": (Addition("a", 1.0, (2,)),), "when": Condition("b", 1.0, above=True)},
            "'b' has no layer 2",
        ),
        (
            {"traits": ADDS, "when": Condition("a", 1e300, above=True)},
            "1e[+]300 of steering.when overflows float32",
        ),
        (
            {"traits": ADDS, "when": Condition("a", 50, above=True, unit="percentile")},
            "'a' is not calibrated",
        ),
        (
            {"traits": (Addition("a", 1.0, None, "prompt"),), "window": Window(0, 4)},
            "steering.window has no generated token to steer",
        ),
    ],
)
def test_what_cannot_be_applied_is_refused_by_name(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        resolve(torch.float16, **fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"operations": (Operation("c", "ablate", strength=0.0),)},
        {"traits": ADDS, "when": Condition("c", 0.0, above=True)},
        {"traits": (Addition("a", 0.0),), "when": Condition("c", 0.0, above=True)},
    ],
)
def test_unknown_traits_are_refused_even_where_nothing_is_steered(fields: dict[str, Any]) -> None:
    with pytest.raises(TraitNotLoadedError, match="unknown trait 'c'"):
        resolve(**fields)

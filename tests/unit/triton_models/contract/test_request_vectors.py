"""The JSON of `vectors`: what it means, and what each refusal says, without any of the numbers."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest

from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.request import GenerationDefaults, parse_generation_request
from triton_models.contract.request_vectors import (
    RequestVector,
    encoded_vectors,
    parse_request_vectors,
)
from triton_models.contract.steering import Operation

NUMBERS = np.array([1.5, -2.25, 0.0], np.float32)


def text(numbers: Any, dtype: str = "<f4") -> str:
    return base64.b64encode(np.asarray(numbers, dtype).tobytes()).decode()


def parse(document: Any) -> tuple[RequestVector, ...]:
    return parse_request_vectors({"vectors": [json.dumps(document)]})


def one(layers: Any, **fields: Any) -> RequestVector:
    (vector,) = parse({"mine": {"layers": layers, **fields}})
    return vector


def test_a_request_without_any_has_none() -> None:
    assert parse_request_vectors({}) == parse_request_vectors({"vectors": [""]}) == parse({}) == ()


def test_numbers_are_little_endian_floats_by_block() -> None:
    vector = one({"15": text(NUMBERS), "2": text(-NUMBERS)})
    assert vector.name == "mine"
    assert {block: values.tolist() for block, values in vector.blocks.items()} == {
        2: [-1.5, 2.25, 0.0],
        15: [1.5, -2.25, 0.0],
    }
    assert list(vector.blocks) == [2, 15]
    assert vector.num_bytes == 24
    half = one({"15": text(NUMBERS, "<f2")}, dtype="float16")
    assert half.blocks[15].tolist() == NUMBERS.tolist()


def test_the_digest_is_of_numbers_and_blocks_and_nothing_else() -> None:
    digest = one({"15": text(NUMBERS)}).digest
    assert one({"15": text(NUMBERS, "<f2")}, dtype="float16").digest == digest
    (other_name,) = parse({"yours": {"layers": {"15": text(NUMBERS)}}})
    assert other_name.digest == digest
    assert one({"14": text(NUMBERS)}).digest != digest
    assert one({"15": text(NUMBERS * 2)}).digest != digest
    apart, together = {"1": text([1, 2]), "2": text([3, 4])}, {"1": text([1, 2, 3, 4])}
    assert one(apart).digest != one(together).digest


def test_what_is_encoded_is_read_back() -> None:
    (vector,) = parse(encoded_vectors({"mine": {3: NUMBERS.astype(np.float64)}}))
    assert vector.blocks[3].tolist() == NUMBERS.tolist()


def test_they_are_part_of_a_request() -> None:
    values = {"vectors": [json.dumps(encoded_vectors({"mine": {3: NUMBERS}}))]}
    request = parse_generation_request(values, GenerationDefaults())
    assert [vector.name for vector in request.vectors] == ["mine"]


def test_a_vector_can_be_meant_for_an_operation() -> None:
    assert one({"15": text(NUMBERS)}).operation is None
    assert one({"15": text(NUMBERS)}, operation="ablate").operation == Operation("mine", "ablate")
    pinned = one({"15": text(NUMBERS)}, operation={"kind": "pin", "value": 2})
    assert pinned.operation == Operation("mine", "pin", 2.0)


GOOD = {"15": text(NUMBERS)}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "vectors must be an object of vectors by name"),
        ({str(n): {"layers": GOOD} for n in range(17)}, "17 vectors are too many: give at most 16"),
        ({"": {"layers": GOOD}}, "a vector's name is empty"),
        ({"n" * 257: {"layers": GOOD}}, "has 257 characters: the maximum is 256"),
        ({"mine": GOOD["15"]}, "vectors.mine must be an object with layers"),
        ({"mine": {"layers": GOOD, "scale": 2}}, "vectors.mine has 'scale': use layers"),
        (
            {"mine": {"layers": GOOD, "operation": "project"}},
            "vectors.mine.operation.kind is 'project': give one of cap, floor, pin, ablate",
        ),
        ({"mine": {"layers": {}}}, "vectors.mine.layers must be an object of base64 texts"),
        ({"mine": {"layers": [GOOD["15"]]}}, "vectors.mine.layers must be an object"),
        (
            {"mine": {"layers": dict.fromkeys(map(str, range(1025)), GOOD["15"])}},
            "vectors.mine has 1025 layers, which are too many: give at most 1024",
        ),
        (
            {"mine": {"layers": GOOD, "dtype": "bfloat16"}},
            "vectors.mine.dtype is 'bfloat16': use float32 or float16",
        ),
        ({"mine": {"layers": GOOD, "dtype": ["float32"]}}, "vectors.mine.dtype is"),
        ({"mine": {"layers": {"015": GOOD["15"]}}}, "has '015': give a 0-based decoder block"),
        ({"mine": {"layers": {"-1": GOOD["15"]}}}, "has '-1': give a 0-based decoder block"),
        ({"mine": {"layers": {"²": GOOD["15"]}}}, "give a 0-based decoder block"),
        ({"mine": {"layers": {"15": "AAAA AAAA"}}}, "vectors.mine.layers.15 is not base64: give"),
        ({"mine": {"layers": {"15": "é"}}}, "vectors.mine.layers.15 is not base64: give float32"),
        ({"mine": {"layers": {"15": [1.0, 2.0]}}}, "vectors.mine.layers.15 is not base64"),
        (
            {"mine": {"layers": {"15": text([1, 2, 3], "<f2")}}},
            "vectors.mine.layers.15 has 6 bytes, and each number has 4",
        ),
        ({"mine": {"layers": {"15": ""}}}, "vectors.mine.layers.15 has 0 bytes"),
        (
            {"mine": {"layers": {"15": text([1, np.nan])}}},
            "vectors.mine.layers.15 has a number that is not finite, at 1",
        ),
        ({"mine": {"layers": {"15": text([np.inf, 1])}}}, "not finite, at 0"),
        ({"mine": {"layers": {"15": text([0, 0])}}}, "vectors.mine.layers.15 is zero"),
        (
            {"mine": {"layers": {"15": text([1, 2]), "16": text([1])}}},
            "the layers of vectors.mine have 1, 2 elements: give each as many as the model's",
        ),
    ],
)
def test_what_cannot_steer_is_refused_by_name(document: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        parse(document)
    assert message in refused.value.message


def test_no_refusal_quotes_numbers() -> None:
    numbers = base64.b64encode(np.full(8, np.nan, np.float32).tobytes()).decode()
    for layers in ({"1": numbers}, {"1": numbers + "!"}, {"1": numbers[:-4]}):
        with pytest.raises(InvalidArgumentError) as refused:
            one(layers)
        assert numbers[:8] not in refused.value.message

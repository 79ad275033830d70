"""Calibrations: quantiles and percentiles, and what is refused of a vector's metadata."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.triton_models.vectors.calibrations import BLOCK, MODEL, calibrated, projections
from triton_models.contract.errors import InvalidArgumentError, TraitNotLoadedError
from triton_models.vectors.calibration import BlockCalibration, Distribution, ModelIdentity
from triton_models.vectors.calibration_document import (
    CALIBRATION,
    calibration_document,
    calibration_of,
)
from triton_models.vectors.editing import only_blocks
from triton_models.vectors.formats import read_vector, write_vector
from triton_models.vectors.persona_vector import PersonaVector
from triton_models.vectors.registry import VectorRegistry

FINITE = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values),
    max_leaves=10,
)


DOCUMENT = calibrated("sarcasm", 15).metadata[CALIBRATION]
_TOKENS = ("blocks", "15", "neutral", "tokens")
PATHS = [(), ("blocks",), _TOKENS[:2], _TOKENS[:3], _TOKENS, (*_TOKENS, "quantiles"), ("seed",)]


def replaced(path: tuple[str, ...], value: Any) -> Any:
    """The document of a good calibration with another value at one place."""
    document = {"whole": copy.deepcopy(DOCUMENT)}
    *parents, last = ("whole", *path)
    place: Any = document
    for key in parents:
        place = place[key]
    place[last] = value
    return document["whole"]


def refusal(document: Any) -> str:
    vector = dataclasses.replace(calibrated("sarcasm", 15), metadata={CALIBRATION: document})
    with pytest.raises(InvalidArgumentError) as caught:
        calibration_of(vector)
    return caught.value.message


def test_a_distribution_has_evenly_spaced_quantiles_mean_and_deviation() -> None:
    found = Distribution.of(np.arange(101, dtype=np.float32), 5)
    assert found.quantiles == (0, 25, 50, 75, 100)
    assert (found.mean, found.deviation) == pytest.approx((50, np.arange(101).std()))


@pytest.mark.parametrize(
    ("percentile", "value"), [(0, -4), (25, -2), (50, 0), (75, 8), (90, 12.8), (100, 16)]
)
def test_values_between_quantiles_are_on_straight_lines(percentile: float, value: float) -> None:
    distribution = Distribution((-4, 0, 16), 3, 5)
    assert distribution.value_at(percentile) == pytest.approx(value)
    assert distribution.percentile_of(value) == pytest.approx(percentile)


def test_values_outside_are_at_the_ends_and_repeated_ones_in_their_middle() -> None:
    distribution = Distribution((0, 1, 1, 1, 2), 1, 0.6)
    found = [distribution.percentile_of(value) for value in (-9, 0, 0.5, 1, 1.5, 2, 9)]
    assert found == [0, 0, 12.5, 50, 87.5, 100, 100]
    assert Distribution((3, 3), 3, 0).percentile_of(3) == 50


@given(st.lists(FINITE, min_size=2, max_size=30), st.floats(0, 100), FINITE)
def test_percentiles_are_within_bounds_whatever_the_quantiles(
    values: list[float], percentile: float, value: float
) -> None:
    distribution = Distribution(tuple(sorted(values)), 0, 0)
    slack = 1e-9 * max(map(abs, values))
    bound = distribution.value_at(percentile)
    assert min(values) - slack <= bound <= max(values) + slack
    assert 0 <= distribution.percentile_of(value) <= 100


@pytest.mark.parametrize(
    ("low", "value", "high", "percentile"),
    [(15e-324, 20e-324, 25e-324, 50), (-1.6e308, 0.8e308, 1.6e308, 75)],
)
def test_the_smallest_and_the_largest_numbers_have_percentiles(
    low: float, value: float, high: float, percentile: float
) -> None:
    assert Distribution((low, high), 0, 0).percentile_of(value) == pytest.approx(percentile)


@given(st.sampled_from(PATHS), JSON)
def test_whatever_a_file_says_is_taken_or_refused(path: tuple[str, ...], value: Any) -> None:
    document = replaced(path, value)
    vector = dataclasses.replace(calibrated("sarcasm", 15), metadata={CALIBRATION: document})
    try:
        block = calibration_of(vector).blocks.get(15, BLOCK)
    except InvalidArgumentError:
        return
    assert math.isfinite(block.bound(37))
    assert 0 <= block.of_answer(1.5).percentile <= 100


def test_a_bound_goes_by_neutral_tokens_and_an_answer_by_neutral_answers() -> None:
    block = dataclasses.replace(
        BLOCK, neutral=dataclasses.replace(BLOCK.neutral, answers=projections(4, 6).answers)
    )
    assert block.bound(90) == pytest.approx(9)
    assert block.percentile(9) == pytest.approx(90)
    assert block.of_answer(5.5).percentile == pytest.approx(75)


def test_the_pole_is_0_at_the_negative_mean_and_1_at_the_positive_one() -> None:
    poles = [BLOCK.of_answer(mean).pole for mean in (-10, 5, 20, 35)]
    assert poles == pytest.approx([0, 0.5, 1, 1.5])
    same = BlockCalibration(BLOCK.neutral, BLOCK.positive, BLOCK.positive)
    assert same.of_answer(3).pole is None


@pytest.mark.parametrize("suffix", [".json", ".safetensors", ".gguf"])
def test_formats_that_keep_metadata_keep_the_calibration(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"sarcasm{suffix}"
    vector = calibrated("sarcasm", 3, 15)
    write_vector(vector, path)
    found = calibration_of(read_vector(path), MODEL)
    assert (found.model, found.num_answers, found.num_tokens, found.seed) == (MODEL, 6, 60, 0)
    assert calibration_document(found) == vector.metadata[CALIBRATION]


def test_numbers_are_written_with_six_digits() -> None:
    block = BlockCalibration(*(projections(1 / 3, 12345678.9) for _ in range(3)))
    calibration = dataclasses.replace(calibration_of(calibrated("t", 1)), blocks={1: block})
    written = calibration_document(calibration)["blocks"]["1"]["neutral"]["tokens"]
    assert (written["quantiles"][0], written["quantiles"][-1]) == (0.333333, 12345700.0)


def test_what_is_not_calibrated_is_refused_by_name() -> None:
    bare = PersonaVector("flattery", "m", {1: np.ones(2, np.float32)})
    with pytest.raises(InvalidArgumentError, match="'flattery' is not calibrated: run 'persona v"):
        calibration_of(bare)
    with pytest.raises(InvalidArgumentError, match=r"'sarcasm' is not calibrated at block 9, only"):
        calibration_of(calibrated("sarcasm", 15)).at(9)


@pytest.mark.parametrize(
    ("served", "is_same"),
    [
        (ModelIdentity("m", "b" * 64), False),
        (ModelIdentity("elsewhere/renamed", "a" * 64), True),
        (ModelIdentity("elsewhere/m"), True),
        (ModelIdentity("n"), False),
    ],
)
def test_a_model_is_known_by_its_weights_else_by_its_name(
    served: ModelIdentity, is_same: bool
) -> None:
    vector = calibrated("sarcasm", 15)
    if is_same:
        calibration_of(vector, served)
        return
    with pytest.raises(InvalidArgumentError) as caught:
        calibration_of(vector, served)
    assert "'sarcasm' is calibrated for the model m (weights aaaaaaaaaaaa)" in caught.value.message
    assert f"but this is {served}" in caught.value.message


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ((), "yes", "calibration must be an object, not 'yes'"),
        (("blocks",), {}, "it has no blocks"),
        (("blocks",), [1], "blocks must be an object"),
        (("blocks", "015"), {}, "'015' in blocks is no decoder block"),
        (("blocks", "last"), {}, "'last' in blocks is no decoder block"),
        (("blocks", "15"), None, "block 15 must be an object"),
        (("blocks", "15", "positive"), None, "positive of block 15 must be an object"),
        (("blocks", "15", "neutral", "answers"), 1, "neutral of block 15: answers must be an"),
        (("blocks", "15", "neutral", "tokens", "mean"), "1", "tokens: mean must be a finite"),
        (("blocks", "15", "neutral", "tokens", "mean"), True, "tokens: mean must be a finite"),
        (("blocks", "15", "neutral", "tokens", "mean"), 10**400, "mean must be a finite"),
        (("blocks", "15", "neutral", "tokens", "deviation"), float("nan"), "deviation must be"),
        (("blocks", "15", "neutral", "tokens", "quantiles"), [1], "a list of 2 or more numbers"),
        (("blocks", "15", "neutral", "tokens", "quantiles"), [2, 1], "quantiles must not fall"),
        (("blocks", "15", "neutral", "tokens", "quantiles"), [1, None], "a quantile must be a"),
        (("model",), "", "model and weights_sha256 must be strings"),
        (("weights_sha256",), 7, "model and weights_sha256 must be strings"),
        (("seed",), 0.5, "seed must be an integer, not 0.5"),
    ],
)
def test_a_malformed_calibration_is_refused_by_name_and_place(
    path: tuple[str, ...], value: Any, reason: str
) -> None:
    message = refusal(replaced(path, value))
    assert message.startswith("the calibration of 'sarcasm' cannot be used: ")
    assert reason in message


def test_a_malformed_calibration_does_not_keep_a_vector_from_loading(tmp_path: Path) -> None:
    path = tmp_path / "sarcasm.json"
    document = {"trait_name": "sarcasm", "vectors": {"1": [1.0]}, "metadata": {CALIBRATION: [1]}}
    path.write_text(json.dumps(document))
    registry = VectorRegistry({"sarcasm": read_vector(path)}, {}, ())
    for _ in range(2):
        with pytest.raises(InvalidArgumentError, match="the calibration of 'sarcasm' cannot"):
            registry.calibration("sarcasm")


def test_an_export_of_some_blocks_has_their_calibration_only() -> None:
    some = only_blocks(calibrated("sarcasm", 3, 9, 15), [15, 3])
    assert list(calibration_of(some).blocks) == [3, 15]
    broken = dataclasses.replace(some, metadata={CALIBRATION: {"blocks": 1}})
    assert only_blocks(broken, [3]).metadata == broken.metadata


def test_a_registry_knows_the_calibrations_for_its_model() -> None:
    vectors = {
        "sarcasm": calibrated("sarcasm", 15),
        "flattery": calibrated("flattery", 15, model=ModelIdentity("other")),
    }
    registry = VectorRegistry(vectors, {}, (), model=MODEL)
    found = registry.calibration("sarcasm")
    assert found.at(15).bound(50) == 5
    assert registry.calibration("sarcasm") is found
    with pytest.raises(InvalidArgumentError, match="'flattery' is calibrated for the model other"):
        registry.calibration("flattery")
    with pytest.raises(TraitNotLoadedError):
        registry.calibration("kindness")

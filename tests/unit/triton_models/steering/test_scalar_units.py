"""A scalar in the unit of asking becomes the vector's factor that was measured, or is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.unit.triton_models.vectors.folder import FIT, document, write
from triton_models.contract.errors import InvalidArgumentError, TraitNotLoadedError
from triton_models.contract.request import GenerationRequest
from triton_models.contract.steering import Addition, SteeringParameters
from triton_models.engine.new_sequence import RequestLimits, new_sequence
from triton_models.steering.scalar_units import in_raw_units
from triton_models.vectors.calibration import ModelIdentity
from triton_models.vectors.formats import read_vector, write_vector
from triton_models.vectors.registry import VectorRegistry
from triton_models.vectors.unit_scale import (
    UNIT_SCALE,
    PoleScale,
    UnitScale,
    raw_scalar,
    unit_scale_document,
)
from triton_models.vectors.vector_folder import VectorFolder

SCALE = unit_scale_document(
    {(1,): UnitScale(PoleScale(2.5), PoleScale(4.0, 0.9))}, ModelIdentity("m"), "contrast m", 20
)


def registry_of(tmp_path: Path, scale: Any = SCALE, **metadata: Any) -> VectorRegistry:
    write(tmp_path / "a.json", document("a", unit_scale=scale, **metadata))
    return VectorFolder(tmp_path, FIT).refresh()


def asked(scalar: float, **more: Any) -> SteeringParameters:
    return SteeringParameters({"a": 0.5}, traits=(Addition("a", scalar, unit="prompt", **more),))


@pytest.mark.parametrize(("scalar", "raw"), [(1.0, 2.5), (-0.5, -2.0), (0.0, 0.0)])
def test_a_scalar_is_multiplied_by_that_of_its_pole(
    tmp_path: Path, scalar: float, raw: float
) -> None:
    found = in_raw_units(asked(scalar), registry_of(tmp_path))
    assert found.scalars == {"a": 0.5}
    assert found.traits == (Addition("a", raw),)


def test_the_recommended_range_is_of_raw_scalars(tmp_path: Path) -> None:
    registry = registry_of(tmp_path, recommended_range=[-2, 2])
    limits = RequestLimits(100, 64, 8, torch.float32, FIT)
    request = GenerationRequest(steering=asked(1.0))
    warnings = new_sequence(request, [1, 2], limits, registry, lambda chunk: None).warnings
    assert "the scalar 3 of 'a' is outside" in warnings[0]


def test_what_was_not_measured_is_refused(tmp_path: Path) -> None:
    one_pole = {**SCALE, "layers": {"1": {"positive": None, "negative": {"scalar": 1.0}}}}
    cases: list[tuple[Any, str]] = [
        (None, "has no unit_scale: run 'persona vectors calibrate a'"),
        (7, "cannot be used"),
        ({**SCALE, "layers": {"1": 3}}, "cannot be used"),
        ({**SCALE, "layers": {"1": {"positive": {"scalar": -1}}}}, "cannot be used"),
        ({**SCALE, "layers": {"2": {}}}, r"was not measured at layers \[1\], only at 2"),
        (one_pole, "no scalar of 'a' did as much as its positive system prompts"),
        ({**SCALE, "model": "other"}, "measured with the model other, but this is m"),
    ]
    for scale, message in cases:
        with pytest.raises(InvalidArgumentError, match=message):
            in_raw_units(asked(1.0), registry_of(tmp_path, scale))
    with pytest.raises(TraitNotLoadedError):
        in_raw_units(
            SteeringParameters(traits=(Addition("b", 1.0, unit="prompt"),)), registry_of(tmp_path)
        )


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_files_keep_it(tmp_path: Path, suffix: str) -> None:
    vector = registry_of(tmp_path).get("a")
    write_vector(vector, tmp_path / f"b.{suffix}")
    read = read_vector(tmp_path / f"b.{suffix}")
    assert read.metadata[UNIT_SCALE] == SCALE
    assert raw_scalar(read, (1,), -1.0) == -4.0


def test_a_request_is_steered_as_by_the_raw_scalar(tmp_path: Path) -> None:
    registry = registry_of(tmp_path)
    limits = RequestLimits(100, 64, 8, torch.float32, FIT)

    def steered(addition: Addition) -> torch.Tensor:
        request = GenerationRequest(steering=SteeringParameters(traits=(addition,)))
        sequence = new_sequence(request, [1, 2], limits, registry, lambda chunk: None)
        return sequence.steering.prompt[1]

    asked_for = steered(Addition("a", 1.0, unit="prompt"))
    torch.testing.assert_close(asked_for, steered(Addition("a", 2.5)), rtol=0, atol=0)

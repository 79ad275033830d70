"""Scalars outside a trait's recommended range."""

from __future__ import annotations

from pathlib import Path

from tests.unit.triton_models.vectors.folder import FIT, document, write
from triton_models.contract.steering import SteeringParameters
from triton_models.steering.recommended_range import range_warnings
from triton_models.vectors.vector_folder import VectorFolder


def test_a_scalar_outside_the_recommended_range_is_warned_about(tmp_path: Path) -> None:
    write(tmp_path / "a.json", document("a", recommended_range=[-1, 2.5]))
    write(tmp_path / "b.json", document("b"))
    registry = VectorFolder(tmp_path, FIT).refresh()
    assert registry.get("a").recommended_range == (-1.0, 2.5)
    for scalar in (-1.0, 0.0, 2.5):
        assert range_warnings(SteeringParameters({"a": scalar, "b": 99.0}), registry) == ()
    (warning,) = range_warnings(SteeringParameters({"a": 3.0}), registry)
    assert "the scalar 3 of 'a' is outside" in warning
    assert "-1 to 2.5 at layers 1" in warning

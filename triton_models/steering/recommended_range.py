"""Warnings about scalars outside the range that a vector recommends."""

from __future__ import annotations

from triton_models.contract.steering import SteeringParameters
from triton_models.vectors.registry import VectorRegistry


def range_warnings(steering: SteeringParameters, registry: VectorRegistry) -> tuple[str, ...]:
    """Returns a sentence for each scalar outside the range that its vector recommends; 0 has none.

    This is checked with the vectors that steer the request, not in the gateway, whose copy may be
    older and which Triton's own clients bypass.
    """
    warnings = []
    for trait, scalar in steering.totals.items():
        vector = registry.get(trait)
        allowed = vector.recommended_range
        if allowed is None or not scalar or allowed[0] <= scalar <= allowed[1]:
            continue
        layers = ", ".join(map(str, vector.selected_blocks))
        warnings.append(
            f"the scalar {scalar:g} of {trait!r} is outside the range that its vector recommends, "
            f"{allowed[0]:g} to {allowed[1]:g} at layers {layers}: the answer may be incoherent or "
            "not show the trait"
        )
    return tuple(warnings)

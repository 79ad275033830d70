"""Whether a request steers as strongly as its vectors are known to work."""

from __future__ import annotations

from triton_models.request import SteeringParameters
from triton_models.vectors.registry import VectorRegistry


def range_warnings(steering: SteeringParameters, registry: VectorRegistry) -> tuple[str, ...]:
    """Returns a sentence for each scalar outside the range that its vector recommends.

    It is decided here, where a request meets the very vectors that it is steered by, rather than
    in the gateway, whose idea of them is older and which Triton's own clients do not pass.

    Args:
        steering: What the request asks for; a scalar of 0 is no steering, so no warning either.
        registry: The vectors there are, with every trait of the request.
    """
    warnings = []
    for trait, scalar in steering.scalars.items():
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

"""Warnings about steering that is likely to spoil an answer, or of which nothing is known.

They are made of the vectors that steer the request, not in the gateway, whose copy may be older and
which Triton's own clients bypass.
"""

from __future__ import annotations

from collections.abc import Iterator

from triton_models.contract.steering import SteeringParameters
from triton_models.steering.row_steering import RowSteering
from triton_models.vectors.registry import VectorRegistry


def steering_warnings(
    asked: SteeringParameters, steering: RowSteering, registry: VectorRegistry
) -> tuple[str, ...]:
    """Returns a sentence for each thing to know about a request's steering.

    Args:
        asked: What the request asks for.
        steering: How its tokens are steered.
        registry: The vectors that it is steered by.
    """
    return (*_outside_ranges(asked, registry), *_beyond_the_residual(steering, registry))


def _outside_ranges(asked: SteeringParameters, registry: VectorRegistry) -> Iterator[str]:
    """Warns of a scalar outside its vector's range, or at layers that the range is not about."""
    for trait, scalar in asked.totals.items():
        vector = registry.get(trait)
        allowed = vector.recommended_range
        if allowed is None or not scalar:
            continue
        selected = vector.selected_blocks
        others = {
            layer
            for each in asked.additions
            if each.trait == trait and each.scalar
            for layer in each.layers or ()
        }.difference(selected)
        recommended = f"{allowed[0]:g} to {allowed[1]:g} at layers {_listed(selected)}"
        if others:
            yield (
                f"the range that the vector of {trait!r} recommends is {recommended}: it says "
                f"nothing about layers {_listed(sorted(others))}"
            )
        elif not allowed[0] <= scalar <= allowed[1]:
            yield (
                f"the scalar {scalar:g} of {trait!r} is outside the range that its vector "
                f"recommends, {recommended}: the answer may be incoherent or not show the trait"
            )


def _beyond_the_residual(steering: RowSteering, registry: VectorRegistry) -> Iterator[str]:
    """Warns where more is added than there is."""
    shares = {
        block: float(delta.float().norm()) / norm
        for deltas in (steering.prompt, steering.response)
        for block, delta in deltas.items()
        if (norm := registry.residual_norms.get(block))
    }
    if shares and max(shares.values()) > 1:
        block = max(shares, key=shares.__getitem__)
        yield (
            f"what is added at layer {block} is {shares[block]:.3g} times as large as the residual "
            "stream there: the answer is likely to be incoherent; use smaller scalars"
        )


def _listed(layers: tuple[int, ...] | list[int]) -> str:
    return ", ".join(map(str, layers))

"""Works out what a request adds to the residual stream."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.steering import Addition
from triton_models.vectors.persona_vector import PersonaVector
from triton_models.vectors.registry import VectorRegistry


def summed_deltas(
    additions: Iterable[Addition], registry: VectorRegistry, dtype: torch.dtype
) -> dict[int, torch.Tensor]:
    """Returns the sum of `scalar * vector` at each block, [hidden size]; 0 adds nothing.

    It is computed in float32 and rounded to the model's dtype once: rounding after each addition,
    four bfloat16 vectors reached 82 % of their sum.

    Raises:
        TraitNotLoadedError: A trait has no vector.
        InvalidArgumentError: A vector lacks a layer; or a scalar is so large or so small that its
            delta cannot be represented, which would steer wrongly or not at all.
    """
    totals: dict[int, torch.Tensor] = {}
    for addition in additions:
        trait, scalar = addition.trait, addition.scalar
        vector = registry.get(trait)
        blocks = chosen_blocks(vector, addition.layers)
        if scalar == 0.0:
            continue
        if not any(vector.blocks[block].any() for block in blocks):
            raise InvalidArgumentError(
                f"the vector of {trait!r} is zero at layers {list(blocks)}: it cannot steer there"
            )
        for block in blocks:
            delta = scalar * torch.from_numpy(vector.blocks[block])
            _check_representable(trait, scalar, vector, block, delta.to(dtype))
            totals[block] = totals[block] + delta if block in totals else delta
    rounded = {block: total.to(dtype) for block, total in sorted(totals.items())}
    for block, total in rounded.items():
        if not fits_norm(total):
            raise InvalidArgumentError(
                f"the traits' sum at block {block} overflows {dtype_name(dtype)}: use smaller "
                "scalars"
            )
    return rounded


def chosen_blocks(vector: PersonaVector, layers: tuple[int, ...] | None) -> tuple[int, ...]:
    """Returns the blocks that layers name, by default those that the vector selects.

    Raises:
        InvalidArgumentError: The vector lacks one.
    """
    if layers is None:
        return vector.selected_blocks
    missing = [layer for layer in layers if layer not in vector.blocks]
    if missing:
        raise InvalidArgumentError(
            f"the vector of {vector.trait_name!r} has no layers {missing}: it has "
            f"{sorted(vector.blocks)}"
        )
    return layers


def _check_representable(
    trait: str, scalar: float, vector: PersonaVector, block: int, delta: torch.Tensor
) -> None:
    if not fits_norm(delta):
        raise InvalidArgumentError(
            f"the scalar {scalar:g} of {trait!r} overflows {dtype_name(delta.dtype)} at block "
            f"{block}, where the vector's norm is {vector.norms[block]:.3g}: use a smaller one"
        )
    if vector.blocks[block].any() and not delta.any():
        raise InvalidArgumentError(
            f"the scalar {scalar:g} of {trait!r} is too small to steer: its product with the "
            f"vector is zero in {dtype_name(delta.dtype)}; use 0 or a larger one"
        )


def fits_norm(delta: torch.Tensor) -> bool:
    """Whether the model's RMSNorm, which squares its input in float32, can represent a delta.

    One whose squares overflow would zero the hidden state instead of steering it, and the logits
    would still be finite.
    """
    return bool(torch.isfinite(delta.float().square().sum()))


def dtype_name(dtype: torch.dtype) -> str:
    """Returns a dtype's name, such as `bfloat16`."""
    return str(dtype).removeprefix("torch.")

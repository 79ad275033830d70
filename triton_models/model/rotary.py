"""Rotary position embeddings: the rotation of each pair of a head's dimensions at each position."""

from __future__ import annotations

import math

import torch

from triton_models.model.architecture import Rotary


def rotation_table(rotary: Rotary, head_size: int, context_length: int) -> torch.Tensor:
    """Returns the rotation at each position as cos and signed sin.

    A rotated head is the head times cos plus its swapped halves times sin.

    Returns:
        float32 [2 (cos, sin), positions, 2 (for values, for queries and keys), head size]. Values
        are not rotated: their cos is 1.
    """
    frequencies, scale = rotary_frequencies(rotary, head_size)
    angles = torch.arange(context_length)[:, None] * frequencies
    cos, sin = angles.cos() * scale, angles.sin() * scale
    table = torch.zeros(2, context_length, 2, head_size)
    table[0, :, 0] = 1
    table[0, :, 1] = torch.cat((cos, cos), dim=-1)
    table[1, :, 1] = torch.cat((-sin, sin), dim=-1)
    return table


def rotary_frequencies(rotary: Rotary, head_size: int) -> tuple[torch.Tensor, float]:
    """Returns the angle per position of each pair of dimensions, and the scale of cos and sin.

    `default` is Su et al. 2021; `linear` divides positions by a factor (Chen et al. 2023);
    `dynamic` (NTK-aware) equals `default` within the model's own context, which is never exceeded;
    `yarn` is Peng et al. 2023; `llama3` is Llama 3.1's.

    Returns:
        float32 [head_size / 2], in radians, and the factor (1 for all but `yarn`).
    """
    exponents = torch.arange(0, head_size, 2, dtype=torch.float32) / head_size
    frequencies = 1.0 / rotary.theta**exponents
    if rotary.kind == "linear":
        return frequencies / rotary.scaling["factor"], 1.0
    if rotary.kind == "llama3":
        return _llama3(frequencies, rotary), 1.0
    if rotary.kind == "yarn":
        return _yarn(frequencies, rotary, head_size)
    return frequencies, 1.0


def _llama3(frequencies: torch.Tensor, rotary: Rotary) -> torch.Tensor:
    """Stretches long wavelengths by the factor, keeps short ones, and interpolates in between."""
    factor, low, high, context = (
        float(rotary.scaling[name])
        for name in (
            "factor",
            "low_freq_factor",
            "high_freq_factor",
            "original_max_position_embeddings",
        )
    )
    turns_in_context = context * frequencies / (2 * math.pi)
    kept = ((turns_in_context - low) / (high - low)).clamp(0, 1)
    return frequencies * (kept + (1 - kept) / factor)


def _yarn(frequencies: torch.Tensor, rotary: Rotary, head_size: int) -> tuple[torch.Tensor, float]:
    """Stretches slow dimensions, keeps fast ones, and interpolates in between (NTK by parts)."""
    scaling = rotary.scaling
    factor = float(scaling["factor"])
    context = float(scaling["original_max_position_embeddings"])

    def dimension_that_turns(times: float) -> float:
        """Returns the pair of dimensions that makes so many turns within the context."""
        wavelength = context / (times * 2 * math.pi)
        return head_size * math.log(wavelength) / (2 * math.log(rotary.theta))

    first = dimension_that_turns(float(scaling.get("beta_fast") or 32))
    last = dimension_that_turns(float(scaling.get("beta_slow") or 1))
    if scaling.get("truncate", True):
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, head_size - 1)
    pairs = torch.arange(head_size // 2, dtype=torch.float32)
    interpolated = ((pairs - first) / max(last - first, 0.001)).clamp(0, 1)
    stretched = frequencies / factor * interpolated + frequencies * (1 - interpolated)
    return stretched, _yarn_attention_factor(rotary, factor)


def _yarn_attention_factor(rotary: Rotary, factor: float) -> float:
    """Returns YaRN's scale of cos and sin; attention scores grow by its square."""
    given = rotary.scaling.get("attention_factor")
    if given is not None:
        return float(given)

    def grown(by: float) -> float:
        return 0.1 * by * math.log(factor) + 1.0 if factor > 1 else 1.0

    numerator, denominator = (rotary.scaling.get(name) for name in ("mscale", "mscale_all_dim"))
    if numerator and denominator:
        return grown(float(numerator)) / grown(float(denominator))
    return grown(1.0)

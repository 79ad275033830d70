"""Decides whether to use the fused kernels: by the GPU, the model's shape, and their results."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch

from triton_models.engine.check_kernels import disagreement, sampling_disagreement
from triton_models.engine.forward_pass import ForwardPass, HookedForward
from triton_models.model.attention import KVCache
from triton_models.model.transformer import Transformer
from triton_models.steering.table import SteeringTable

logger = logging.getLogger(__name__)

HEAD_SIZES = (64, 80, 96, 128)
"""The head sizes that the kernels were tested with."""


@dataclass(frozen=True, slots=True)
class Kernels:
    """Which implementation of the forward pass is in use.

    Attributes:
        fused: Whether it is the fused kernels rather than the modules.
        reason: Why the fused kernels are not in use, `""` if they are.
    """

    fused: bool
    reason: str = ""


def choose_forward(
    model: Transformer, cache: KVCache, steering: SteeringTable, context_length: int, wanted: bool
) -> tuple[ForwardPass, Kernels]:
    """Returns the fastest forward pass that gives correct results, and which one it is.

    The model gets permanent hooks. No request uses the cache yet, and the steering is all zero.
    `wanted` says whether the fused kernels may be used.
    """
    hooked = HookedForward(model, cache, steering)
    if model.device.type == "cpu":
        return hooked, Kernels(fused=False, reason="the model is on a CPU")
    reason = _misfit(model, cache) if wanted else "FUSED_KERNELS is false"
    if not reason:
        try:
            from triton_models.engine.fused_forward import FusedForward

            fused = FusedForward(model, cache, steering, context_length)
            reason = disagreement(fused, hooked, model, cache, steering)
            reason = reason or sampling_disagreement(model)
        except Exception as error:  # of the compiler, the driver, or a missing library
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()  # raises if the kernel has broken the GPU's context
            logger.debug("the fused kernels failed", exc_info=True)
            reason = f"they do not run here: {error}"
    if reason:
        logger.warning("the fused kernels are not used, which costs speed: %s", reason)
        return hooked, Kernels(fused=False, reason=reason)
    return fused, Kernels(fused=True)


def _misfit(model: Transformer, cache: KVCache) -> str:
    if model.dtype not in (torch.bfloat16, torch.float16):
        return "they support bfloat16 and float16"
    if model.architecture.head_size not in HEAD_SIZES:
        return f"they support head sizes {', '.join(map(str, HEAD_SIZES))}"
    if not cache.attends_in_place:
        return "they need an NVIDIA GPU of compute capability 8.0 or later"
    return ""

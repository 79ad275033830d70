"""Linear layers whose weights are laid out once for the CPU's fast matrix products.

PyTorch multiplies by a plain weight as it lies in memory, which costs a step on the CPU most of
its time: without bfloat16 instructions a bfloat16 product of 16 rows takes 16 times one row's.
Two libraries that come with PyTorch hold weights in their own layout instead:

- FBGEMM keeps float16 weights and multiplies in float32. Half-precision models use it on CPUs
  without bfloat16 instructions.
- oneDNN keeps the model's own dtype. float32 models use it, and bfloat16 ones where the CPU has
  instructions for them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from transformers import PreTrainedModel

Product = Callable[[torch.Tensor], torch.Tensor]
"""Multiplies [..., in features] by a layer's weight and adds its bias."""

_MOST_FEATURES = 8192
"""The most output features that FBGEMM computes at once: it passes over its output several times,
which must stay in the CPU's cache. A vocabulary's 150,000 take a fifth less time in parts."""

_TYPICAL_ROWS = 16
"""The number of rows that oneDNN lays weights out for; other numbers work as well."""


class PackedLinear(nn.Module):
    """Stands in for an `nn.Linear`; it has no parameters, only the packed weight.

    Args:
        product: Multiplies by the packed weight.
    """

    def __init__(self, product: Product) -> None:
        super().__init__()
        self._product = product

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Returns [..., out features] for [..., in features]."""
        return self._product(hidden_states)


def pack_linears(model: PreTrainedModel) -> torch.dtype:
    """Replaces each linear layer of a model on the CPU by a packed one, in place.

    Where FBGEMM does the products, the model computes in float32 from end to end, and the rest of
    its parameters but the embeddings is converted to that: rounding between layers would only cost
    time. Where the layers cannot be packed, the model stays as it is.

    Returns:
        The dtype that the model computes in from now on.
    """
    linears = {
        name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)
    }
    dtype = model.dtype
    if _has_instructions_for(dtype):
        if not torch.backends.mkldnn.is_available():
            return dtype
        pack: Callable[[nn.Linear], PackedLinear] = _one_dnn
    elif dtype is not torch.float32 and all(map(_fits_fbgemm, linears.values())):
        pack = _fbgemm
    else:
        return dtype
    embeddings = model.get_input_embeddings()
    for name, linear in linears.items():
        model.set_submodule(name, pack(linear))
    if pack is _fbgemm:
        for module in model.modules():
            if module is not embeddings:
                for parameter in module.parameters(recurse=False):
                    parameter.data = parameter.data.float()
        return torch.float32
    return dtype


def _has_instructions_for(dtype: torch.dtype) -> bool:
    if dtype is torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype is torch.float32


def _one_dnn(linear: nn.Linear) -> PackedLinear:
    packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), _TYPICAL_ROWS)
    bias = None if linear.bias is None else linear.bias.detach()
    multiply = torch.ops.mkldnn._linear_pointwise
    return PackedLinear(lambda inputs: multiply(inputs, packed, bias, "none", [], ""))


def _fits_fbgemm(linear: nn.Linear) -> bool:
    """Whether float16 holds a weight: it has more digits than bfloat16, but less range.

    What is below 6e-8 becomes zero, which no model's output shows.
    """
    limit = torch.finfo(torch.float16).max
    return "fbgemm" in torch.backends.quantized.supported_engines and bool(
        linear.weight.detach().abs().max() <= limit
    )


def _fbgemm(linear: nn.Linear) -> PackedLinear:
    weights = linear.weight.detach().split(_MOST_FEATURES)
    biases = [None] * len(weights) if linear.bias is None else linear.bias.split(_MOST_FEATURES)
    parts = [
        torch.ops.quantized.linear_prepack_fp16(
            weight.float(), None if bias is None else bias.detach().float()
        )
        for weight, bias in zip(weights, biases, strict=True)
    ]
    multiply = torch.ops.quantized.linear_dynamic_fp16
    if len(parts) == 1:
        return PackedLinear(lambda inputs: multiply(inputs, parts[0]))
    return PackedLinear(
        lambda inputs: torch.cat([multiply(inputs, part) for part in parts], dim=-1)
    )

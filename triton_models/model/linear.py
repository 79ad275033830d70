"""Linear layers, and packing of their weights for fast matrix products on a CPU.

On a CPU a step spends most of its time in matrix products, and PyTorch's plain ones are slow:
without bfloat16 instructions a bfloat16 product of 16 rows takes 16 times as long as one row. Two
libraries that come with PyTorch pack weights into their own layout instead:

- FBGEMM stores float16 weights and multiplies in float32. Half-precision models use it on CPUs
  without bfloat16 instructions, and then compute in float32 from end to end, since rounding between
  layers would only cost time.
- oneDNN keeps the model's dtype. float32 models use it, and bfloat16 ones if the CPU has
  instructions for them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

_MAX_FBGEMM_FEATURES = 8192
"""The maximum number of output features per FBGEMM call: it makes several passes over its output,
which must stay in the CPU's cache. A vocabulary of 150,000 takes a fifth less time in parts."""

_TYPICAL_ROWS = 16
"""The number of rows for which oneDNN optimizes the layout; other numbers work as well."""

_MAX_PLAIN_WEIGHTS = 2**19
"""The largest float32 layer that is not packed: for small products oneDNN's setup costs more than
it gains, a factor of two with the demo model's 200 by 200."""


class Linear(nn.Module):
    """A linear layer with an uninitialized weight."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        super().__init__()

        def parameter(*shape: int) -> nn.Parameter:
            empty = torch.empty(shape, dtype=dtype, device=device)
            return nn.Parameter(empty, requires_grad=False)

        self.weight = parameter(out_features, in_features)
        self.bias = parameter(out_features) if bias else None

    def forward(self, inputs: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        """Returns [tokens, out features] for [tokens, in features], plus the residual if given."""
        if residual is None:
            return nn.functional.linear(inputs, self.weight, self.bias)
        if self.bias is None:
            return torch.addmm(residual, inputs, self.weight.t())
        return nn.functional.linear(inputs, self.weight, self.bias).add_(residual)


class GatedLinear(nn.Module):
    """A gate and an up projection as one matrix product, gate first: silu(gate) * up."""

    def __init__(self, joined: Linear) -> None:
        super().__init__()
        self.joined: nn.Module = joined

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns silu(gate(inputs)) * up(inputs), [tokens, out features]."""
        gate, up = self.joined(inputs).chunk(2, dim=-1)
        return nn.functional.silu(gate).mul_(up)


class OneDNNLinear(nn.Module):
    """Replaces a `Linear`: its weight in oneDNN's layout, which is no longer a parameter."""

    def __init__(self, linear: Linear) -> None:
        super().__init__()
        self._weight = _one_dnn_weight(linear.weight.data)
        self._bias = None if linear.bias is None else linear.bias.data
        self._multiply = torch.ops.mkldnn._linear_pointwise.default
        self._multiply_and_add = torch.ops.mkldnn._linear_pointwise.binary

    def forward(self, inputs: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        """See `Linear.forward`."""
        product: torch.Tensor
        if residual is None:
            product = self._multiply(inputs, self._weight, self._bias, "none", [], "")
        else:
            product = self._multiply_and_add(inputs, residual, self._weight, self._bias, "add")
        return product


class OneDNNGatedLinear(nn.Module):
    """Replaces a `GatedLinear`: two products with SiLU and the gating fused into them."""

    def __init__(self, gated: GatedLinear) -> None:
        super().__init__()
        joined = gated.joined
        assert isinstance(joined, Linear)
        weights = joined.weight.data.chunk(2)
        self._gate, self._up = (_one_dnn_weight(weight) for weight in weights)
        self._gate_bias: torch.Tensor | None = None
        self._up_bias: torch.Tensor | None = None
        if joined.bias is not None:
            self._gate_bias, self._up_bias = joined.bias.data.chunk(2)
        self._multiply = torch.ops.mkldnn._linear_pointwise.default
        self._multiply_and_gate = torch.ops.mkldnn._linear_pointwise.binary

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """See `GatedLinear.forward`."""
        gate = self._multiply(inputs, self._gate, self._gate_bias, "swish", [], "")
        gated: torch.Tensor = self._multiply_and_gate(inputs, gate, self._up, self._up_bias, "mul")
        return gated


def _one_dnn_weight(weight: torch.Tensor) -> torch.Tensor:
    packed: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, _TYPICAL_ROWS)
    return packed


class FBGEMMLinear(nn.Module):
    """Replaces a `Linear` of float32 inputs: its weight as float16 in FBGEMM's layout."""

    def __init__(self, linear: Linear) -> None:
        super().__init__()
        weights = linear.weight.data.split(_MAX_FBGEMM_FEATURES)
        biases = (
            [None] * len(weights)
            if linear.bias is None
            else linear.bias.data.split(_MAX_FBGEMM_FEATURES)
        )
        prepack = torch.ops.quantized.linear_prepack_fp16
        self._parts = [
            prepack(weight.float(), bias) for weight, bias in zip(weights, biases, strict=True)
        ]
        self._multiply = torch.ops.quantized.linear_dynamic_fp16

    def forward(self, inputs: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        """See `Linear.forward`."""
        products = [self._multiply(inputs, part) for part in self._parts]
        product = products[0] if len(products) == 1 else torch.cat(products, dim=-1)
        return product if residual is None else product.add_(residual)


Pack = Callable[[Linear | GatedLinear], nn.Module]
"""Returns the packed replacement of a layer, or the layer itself if it is not packed."""


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """How a model is stored and computed.

    Attributes:
        dtype: The dtype that was configured, which is also that of the embedding.
        compute_dtype: The dtype of the residual stream and of all other parameters until they are
            packed.
        pack: Packs linear layers; `None` leaves them as they are.
    """

    dtype: torch.dtype
    compute_dtype: torch.dtype
    pack: Pack | None = None


def choose_number_format(
    dtype: torch.dtype, device: torch.device, *, packing: bool
) -> NumberFormat:
    """Returns how a model of a configured dtype is stored and computed on a device."""
    if not packing or device.type != "cpu":
        return NumberFormat(dtype, dtype)
    if _has_instructions_for(dtype):
        packs = torch.backends.mkldnn.is_available()
        return NumberFormat(dtype, dtype, _pack_for_one_dnn if packs else None)
    if "fbgemm" in torch.backends.quantized.supported_engines:
        return NumberFormat(dtype, torch.float32, _pack_as_float16)
    return NumberFormat(dtype, dtype)


def _has_instructions_for(dtype: torch.dtype) -> bool:
    if dtype is torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype is torch.float32


def _pack_for_one_dnn(layer: Linear | GatedLinear) -> nn.Module:
    weight = next(layer.parameters())
    if weight.dtype is torch.float32 and weight.numel() <= _MAX_PLAIN_WEIGHTS:
        return layer
    return OneDNNGatedLinear(layer) if isinstance(layer, GatedLinear) else OneDNNLinear(layer)


def _pack_as_float16(layer: Linear | GatedLinear) -> nn.Module:
    """Packs a weight as float16, which is more precise than bfloat16 but has less range.

    Elements below 6e-8 become zero, which has no visible effect. A layer with an element that is
    too large stays in float32.
    """
    if isinstance(layer, GatedLinear):
        return layer  # its joined product is packed by itself
    if layer.weight.data.abs().max() <= torch.finfo(torch.float16).max:
        return FBGEMMLinear(layer)
    layer.weight = nn.Parameter(layer.weight.data.float(), requires_grad=False)
    return layer

"""Packed linear layers give the products of the layers that they stand in for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from triton_models.model import linear
from triton_models.model.linear import (
    FBGEMMLinear,
    GatedLinear,
    Linear,
    NumberFormat,
    OneDNNGatedLinear,
    OneDNNLinear,
    choose_number_format,
)
from triton_models.model.loading import load_model
from triton_models.settings import ServerSettings

CPU = torch.device("cpu")
needs_libraries = pytest.mark.skipif(
    "fbgemm" not in torch.backends.quantized.supported_engines
    or not torch.backends.mkldnn.is_available(),
    reason="PyTorch was built without FBGEMM or oneDNN for this CPU",
)


def make_linear(size: tuple[int, int], dtype: torch.dtype, *, bias: bool) -> Linear:
    made = Linear(*size, bias=bias, dtype=dtype, device=CPU)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.1)
    return made


@needs_libraries
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 5, 64])
@pytest.mark.parametrize("pack", [OneDNNLinear, FBGEMMLinear, None])
@torch.inference_mode()
def test_products_are_those_of_the_plain_layer_with_and_without_a_residual(
    pack: type[nn.Module] | None, rows: int, bias: bool
) -> None:
    plain = make_linear((48, 20_000), torch.float32, bias=bias)
    layer = pack(plain) if pack else plain
    inputs, residual = torch.randn(rows, 48), torch.randn(rows, 20_000)
    expected = nn.functional.linear(inputs, plain.weight, plain.bias)
    # FBGEMM's weights are float16: 3 decimal digits of each.
    tolerance = 2e-2 if pack is FBGEMMLinear else 1e-4
    kept = residual.clone()
    torch.testing.assert_close(layer(inputs), expected, atol=tolerance, rtol=tolerance)
    added = layer(inputs, residual)
    torch.testing.assert_close(added, expected + kept, atol=tolerance, rtol=tolerance)
    assert residual.equal(kept)


@needs_libraries
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 5, 64])
@torch.inference_mode()
def test_gated_products_are_those_of_the_plain_layer(rows: int, bias: bool) -> None:
    gated = GatedLinear(make_linear((48, 320), torch.float32, bias=bias))
    inputs = torch.randn(rows, 48)
    gate, up = gated.joined(inputs).chunk(2, dim=-1)
    expected = nn.functional.silu(gate) * up
    torch.testing.assert_close(gated(inputs), expected)
    torch.testing.assert_close(OneDNNGatedLinear(gated)(inputs), expected, atol=1e-4, rtol=1e-4)


@needs_libraries
def test_half_precision_without_instructions_computes_in_float32_from_end_to_end(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear, "_has_instructions_for", lambda dtype: dtype is torch.float32)
    loaded = load_model(tiny_model_folder, ServerSettings(device="cpu", dtype="bfloat16"))
    model = loaded.model
    assert (loaded.dtype, model.dtype) == (torch.bfloat16, torch.float32)
    assert model.embedding.dtype is torch.bfloat16
    others = [each for each in model.parameters() if each is not model.embedding]
    assert {each.dtype for each in others} == {torch.float32}
    packed = [each for each in model.modules() if isinstance(each, FBGEMMLinear)]
    assert len(packed) == 4 * 4 + 1
    assert not any(isinstance(each, Linear) for each in model.modules())


@needs_libraries
def test_a_weight_past_the_range_of_float16_stays_in_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(linear, "_has_instructions_for", lambda _: False)
    pack = choose_number_format(torch.bfloat16, CPU, packing=True).pack
    assert pack is not None
    layer = make_linear((8, 8), torch.float32, bias=False)
    assert isinstance(pack(layer), FBGEMMLinear)
    layer.weight.data[0, 0] = 1e5
    assert pack(layer) is layer


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_without_packing_and_on_a_gpu_a_model_keeps_its_dtype(dtype: torch.dtype) -> None:
    plain = NumberFormat(dtype, dtype)
    assert choose_number_format(dtype, CPU, packing=False) == plain
    assert choose_number_format(dtype, torch.device("cuda"), packing=True) == plain

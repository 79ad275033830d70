"""Packed linear layers give the products of the layers that they stand in for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.conftest import HIDDEN_SIZE, make_model
from triton_models.engine.packed_linear import PackedLinear, pack_linears

pytestmark = pytest.mark.skipif(
    "fbgemm" not in torch.backends.quantized.supported_engines
    or not torch.backends.mkldnn.is_available(),
    reason="PyTorch was built without FBGEMM or oneDNN for this CPU",
)


def linears(model: nn.Module) -> dict[str, nn.Module]:
    kinds = (nn.Linear, PackedLinear)
    return {name: module for name, module in model.named_modules() if isinstance(module, kinds)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rows", [1, 5, 64])
def test_products_are_those_of_the_plain_layers(dtype: torch.dtype, rows: int) -> None:
    model = make_model(dtype=dtype)
    plain = linears(model)
    computes_in = pack_linears(model)
    packed = linears(model)
    assert list(packed) == list(plain)
    assert len(packed) == 4 * 7 + 1
    for name, layer in packed.items():
        original = plain[name]
        assert isinstance(layer, PackedLinear)
        assert isinstance(original, nn.Linear)
        inputs = torch.randn(1, rows, original.in_features).to(computes_in)
        # What rounds is at most the packed weight's float16: 3 decimal digits of each.
        expected = original.float()(inputs.float())
        torch.testing.assert_close(layer(inputs).float(), expected, atol=2e-2, rtol=1e-2)
        if dtype is torch.float32:
            torch.testing.assert_close(layer(inputs), expected, atol=1e-4, rtol=1e-4)


def test_half_precision_models_compute_in_float32_from_end_to_end() -> None:
    model = make_model(dtype=torch.float16)
    assert pack_linears(model) is torch.float32
    embeddings = model.get_input_embeddings().weight
    assert embeddings.dtype is torch.float16
    assert {each.dtype for each in model.parameters() if each is not embeddings} == {torch.float32}


def test_a_vocabulary_is_multiplied_in_parts() -> None:
    model = make_model(dtype=torch.float16)
    model.lm_head = nn.Linear(HIDDEN_SIZE, 20_000, bias=True, dtype=torch.float16)
    original = model.lm_head
    pack_linears(model)
    inputs = torch.randn(3, HIDDEN_SIZE)
    torch.testing.assert_close(
        model.lm_head(inputs), original.float()(inputs), atol=1e-2, rtol=1e-2
    )


def test_a_weight_past_the_range_of_float16_leaves_the_model_as_it_is() -> None:
    model = make_model(dtype=torch.bfloat16)
    model.model.layers[1].mlp.up_proj.weight.data[0, 0] = 1e5
    plain = linears(model)
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this CPU has bfloat16 instructions, which hold any weight")
    assert pack_linears(model) is torch.bfloat16
    assert linears(model) == plain

"""An adapter that is merged computes what it computed when it was trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from persona_embedded.adapter import (
    LINEARS,
    AdaptedLinear,
    adapt,
    adapter_of,
    read_adapter,
    write_adapter,
)
from persona_embedded.package import ADAPTER_CONFIG_FILE
from tests.unit.embedded.small_gguf import small_llama

IDS = torch.arange(12)[None]


@pytest.fixture
def trained(tmp_path: Path) -> tuple[torch.Tensor, Path]:
    """The logits of an adapted model, and its adapter's folder."""
    model = small_llama()
    plain = model(IDS).logits
    adapt(model, rank=4, alpha=8.0, first_block=1)
    torch.testing.assert_close(model(IDS).logits, plain)
    for module in model.modules():
        if isinstance(module, AdaptedLinear):
            # What float16 holds exactly, as the file does.
            module.first.data = module.first.data.half().float()
            module.second.data = (torch.randn_like(module.second) * 0.1).half().float()
    write_adapter(adapter_of(model, 4, 8.0), tmp_path, "the/base")
    return model(IDS).logits, tmp_path


def test_a_merged_model_computes_what_the_adapted_one_did(
    trained: tuple[torch.Tensor, Path],
) -> None:
    logits, folder = trained
    adapter = read_adapter(folder)
    model = small_llama()
    before = model(IDS).logits
    for name, parameter in model.named_parameters():
        parameter.copy_(adapter.merge(name, parameter))
    torch.testing.assert_close(model(IDS).logits, logits, rtol=1e-4, atol=1e-4)
    assert (logits - before).abs().max() > 0.1
    assert len(adapter.factors) == len(LINEARS)  # of the second block alone


def test_its_configuration_is_that_of_peft(trained: tuple[torch.Tensor, Path]) -> None:
    config = json.loads((trained[1] / ADAPTER_CONFIG_FILE).read_text())
    assert config["peft_type"] == "LORA"
    assert config["layers_to_transform"] == [1]
    assert (config["r"], config["lora_alpha"]) == (4, 8.0)


def test_an_adapter_of_another_model_is_refused(trained: tuple[torch.Tensor, Path]) -> None:
    adapter = read_adapter(trained[1])
    with pytest.raises(ValueError, match=r"whose shape is \[3, 64\]"):
        adapter.merge("model.layers.1.self_attn.q_proj.weight", torch.zeros(3, 64))

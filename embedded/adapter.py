"""LoRA adapters (Hu et al. 2021) in the files of the PEFT library: `W + alpha / rank * B @ A`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from persona_embedded.package import ADAPTER_CONFIG_FILE, ADAPTER_FILE

BASE_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""The hub's name of the model that the Python package carries."""

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of a block, all of which are adapted."""

_PREFIX = "base_model.model."


@dataclass(frozen=True)
class Adapter:
    """What is added to a model's linear layers.

    Attributes:
        rank: Rows of each A and columns of each B.
        alpha: The scale of the products, times the rank.
        factors: A, [rank, inputs], and B, [outputs, rank], by the adapted weight's name.
    """

    rank: int
    alpha: float
    factors: Mapping[str, tuple[Tensor, Tensor]]

    def merge(self, name: str, weight: Tensor) -> Tensor:
        """Returns a weight with what the adapter adds to it, if it does.

        In float64, so that it is rounded to the same bfloat16 on every machine: calibrations are
        for a model of one hash.

        Raises:
            ValueError: The adapter was made for a weight of another shape.
        """
        if name not in self.factors:
            return weight
        first, second = (factor.double() for factor in self.factors[name])
        if weight.shape != (second.shape[0], first.shape[1]):
            raise ValueError(
                f"the adapter has {second.shape[0]} by {first.shape[1]} elements for {name}, "
                f"whose shape is {list(weight.shape)}"
            )
        return weight.double() + self.alpha / self.rank * (second @ first)


class AdaptedLinear(nn.Module):
    """A frozen linear layer and what is trained beside it; at first it adds nothing."""

    def __init__(self, linear: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.linear = linear
        self.first = nn.Parameter(torch.randn(rank, linear.in_features) * linear.in_features**-0.5)
        self.second = nn.Parameter(torch.zeros(linear.out_features, rank))
        self._scale = alpha / rank

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns the outputs, [..., outputs], of inputs, [..., inputs]."""
        added = nn.functional.linear(nn.functional.linear(inputs, self.first), self.second)
        outputs: Tensor = self.linear(inputs)
        return torch.add(outputs, added, alpha=self._scale)


def adapt(model: nn.Module, rank: int, alpha: float, first_block: int) -> None:
    """Freezes a Llama of transformers, and adapts all linear layers from a block on."""
    model.requires_grad_(False)
    blocks = list(model.get_submodule("model.layers").children())
    for block in blocks[first_block:]:
        for part in (block.get_submodule("self_attn"), block.get_submodule("mlp")):
            for name, child in list(part.named_children()):
                if name in LINEARS and isinstance(child, nn.Linear):
                    setattr(part, name, AdaptedLinear(child, rank, alpha))


def adapter_of(model: nn.Module, rank: int, alpha: float) -> Adapter:
    """Returns the adapter of a model that `adapt` was given."""
    return Adapter(
        rank,
        alpha,
        {
            f"{name}.weight": (module.first.detach(), module.second.detach())
            for name, module in model.named_modules()
            if isinstance(module, AdaptedLinear)
        },
    )


def write_adapter(adapter: Adapter, folder: Path, base_model: str) -> None:
    """Writes an adapter in float16 as PEFT reads it; a reader never finds half of it."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, factors in adapter.factors.items():
        for letter, factor in zip("AB", factors, strict=True):
            key = f"{_PREFIX}{name.removesuffix('.weight')}.lora_{letter}.weight"
            tensors[key] = factor.half().contiguous()
    blocks = sorted({int(name.split(".")[2]) for name in adapter.factors})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model,
        "r": adapter.rank,
        "lora_alpha": adapter.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": list(LINEARS),
        "layers_to_transform": blocks,
        "inference_mode": True,
    }
    (folder / ADAPTER_CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    unfinished = folder / f"{ADAPTER_FILE}.part"
    save_file(tensors, unfinished, metadata={"format": "pt"})
    unfinished.replace(folder / ADAPTER_FILE)


def read_adapter(folder: Path) -> Adapter:
    """Reads an adapter.

    Raises:
        OSError, KeyError, ValueError, SafetensorError: A file is missing or broken.
    """
    config = json.loads((folder / ADAPTER_CONFIG_FILE).read_text(encoding="utf-8"))
    tensors = load_file(folder / ADAPTER_FILE)
    names = {key.rsplit(".lora_", 1)[0] for key in tensors}
    factors = {
        f"{name.removeprefix(_PREFIX)}.weight": (
            tensors[f"{name}.lora_A.weight"],
            tensors[f"{name}.lora_B.weight"],
        )
        for name in names
    }
    return Adapter(config["r"], config["lora_alpha"], factors)

"""Splitting a model's linear layers over several devices: tensor parallelism.

Every device holds the whole residual stream and a share of each decoder block: some of the
attention heads with their keys and values, and some of the MLP's inner features. The layers that
lead into a share are split by output features; those that lead back are split by input features,
and what the devices have is summed (Megatron-LM, https://arxiv.org/abs/1909.08053, section 3). So a
block's output is the same on all devices, and each steers it for itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed
from torch import nn
from transformers import AutoConfig, Qwen2ForCausalLM

from triton_models.engine.kv_size import num_key_value_heads
from triton_models.model_folder import UnsupportedModelError

LEADER = 0
"""The place that samples, and the only one that has all logits."""


@dataclass(frozen=True, slots=True)
class ShardPlace:
    """Which share of a model a process holds.

    Attributes:
        index: Its number, from 0.
        count: How many shares there are.
    """

    index: int = LEADER
    count: int = 1

    def part(self, weight: torch.Tensor, dimension: int) -> torch.Tensor:
        """Returns this place's share of a weight, without keeping the whole one alive."""
        return weight.detach().chunk(self.count, dimension)[self.index].clone()


WHOLE_MODEL = ShardPlace()
"""The place of a device that has all of a model."""


class SummedLinear(nn.Module):
    """A layer split by input features: the sum over all devices is the whole layer's output.

    Args:
        linear: This device's share, without a bias.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Returns [..., out features] for this device's [..., share of the in features]."""
        output: torch.Tensor = self.linear(hidden_states)
        torch.distributed.all_reduce(output)
        return output


class GatheredLinear(nn.Module):
    """A layer split by output features, whose whole output only the leader needs.

    Args:
        linear: This device's share.
        place: Which share that is.
    """

    def __init__(self, linear: nn.Linear, place: ShardPlace) -> None:
        super().__init__()
        self.linear = linear
        self._place = place

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Returns [..., out features] at the leader, and elsewhere the device's own share."""
        output: torch.Tensor = self.linear(hidden_states).contiguous()
        parts = None
        if self._place.index == LEADER:
            parts = [torch.empty_like(output) for _ in range(self._place.count)]
        torch.distributed.gather(output, parts, dst=LEADER)
        return output if parts is None else torch.cat(parts, dim=-1)


def check_divisible(folder: Path, count: int) -> None:
    """Makes sure that the model of a folder can be split.

    Raises:
        UnsupportedModelError: Its heads or inner features do not divide by the number of devices.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    sizes = {
        "key/value heads": num_key_value_heads(config),
        "attention heads": config.num_attention_heads,
        "inner features of its MLP": config.intermediate_size,
    }
    for what, size in sizes.items():
        if size % count:
            raise UnsupportedModelError(
                f"TENSOR_PARALLEL is {count}, but the model has {size} {what}: use a divisor of "
                f"{num_key_value_heads(config)}"
            )


def shard_model(model: Qwen2ForCausalLM, place: ShardPlace) -> None:
    """Cuts a model, one that `check_divisible` accepts, down to one device's share, in place.

    The embeddings stay whole, and so does an output layer whose vocabulary does not divide.
    """
    if place.count == 1:
        return
    for block in model.model.layers:
        for parent, name in _inward(block):
            setattr(parent, name, _split_outputs(getattr(parent, name), place))
        for parent, name in _outward(block):
            setattr(parent, name, SummedLinear(_split_inputs(getattr(parent, name), place)))
    if model.lm_head.out_features % place.count == 0:
        model.lm_head = GatheredLinear(_split_outputs(model.lm_head, place), place)


def _inward(block: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    attention, mlp = block.get_submodule("self_attn"), block.get_submodule("mlp")
    yield from ((attention, name) for name in ("q_proj", "k_proj", "v_proj"))
    yield from ((mlp, name) for name in ("gate_proj", "up_proj"))


def _outward(block: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    yield block.get_submodule("self_attn"), "o_proj"
    yield block.get_submodule("mlp"), "down_proj"


def _split_outputs(linear: nn.Linear, place: ShardPlace) -> nn.Linear:
    bias = None if linear.bias is None else place.part(linear.bias, 0)
    return _linear(place.part(linear.weight, 0), bias)


def _split_inputs(linear: nn.Linear, place: ShardPlace) -> nn.Linear:
    if linear.bias is not None:
        raise ValueError("a layer whose outputs are summed has a bias, which would count twice")
    return _linear(place.part(linear.weight, 1), None)


def _linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    out_features, in_features = weight.shape
    linear = nn.Linear(in_features, out_features, bias is not None, device="meta")
    linear.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        linear.bias = nn.Parameter(bias, requires_grad=False)
    return linear.eval()

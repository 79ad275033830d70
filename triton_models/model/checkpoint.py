"""Loads a checkpoint's weights into a model, one decoder block after the other.

Tensors are copied from the safetensors files straight into the joined parameters, and a block's
linear layers are packed as soon as it is complete, so that there is never a second copy of more
than one block. A checkpoint may consist of several files.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from triton_models.model.architecture import Architecture, weight_files
from triton_models.model.errors import UnsupportedModelError
from triton_models.model.linear import GatedLinear, Linear, NumberFormat
from triton_models.model.transformer import Transformer

logger = logging.getLogger(__name__)

EMBEDDING = "model.embed_tokens.weight"
FINAL_NORM = "model.norm.weight"
HEAD = "lm_head.weight"

_BLOCK_PARTS: dict[str, tuple[str, ...]] = {
    "attention_norm": ("input_layernorm",),
    "attention.query_key_value": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attention.query_norm": ("self_attn.q_norm",),
    "attention.key_norm": ("self_attn.k_norm",),
    "attention.output": ("self_attn.o_proj",),
    "mlp_norm": ("post_attention_layernorm",),
    "mlp.gate_up.joined": ("mlp.gate_proj", "mlp.up_proj"),
    "mlp.down": ("mlp.down_proj",),
}
"""The modules of a block, and the checkpoint's names of the tensors that each joins."""

_DERIVED_SUFFIX = "rotary_emb.inv_freq"
"""A buffer in old checkpoints, which follows from the configuration."""


class Checkpoint:
    """A folder's safetensors files, read lazily until `close`; messages call the model `name`."""

    def __init__(self, folder: Path, name: str) -> None:
        self._name = name
        self._opened = ExitStack()
        self._places = {}
        self._unread: set[str] = set()
        for file in weight_files(folder):
            try:
                tensors = self._opened.enter_context(safe_open(folder / file, framework="pt"))
            except (OSError, SafetensorError) as error:
                self._opened.close()
                raise UnsupportedModelError(f"{name}'s {file} cannot be read: {error}") from error
            for key in tensors.keys():  # noqa: SIM118 - it is not a mapping
                self._places[key] = tensors
                self._unread.add(key)

    def close(self) -> None:
        """Closes the files."""
        self._opened.close()

    def copy(self, key: str, target: torch.Tensor) -> None:
        """Copies a tensor to `target`, converting its dtype.

        Raises:
            UnsupportedModelError: It is missing, or has another shape.
        """
        if key not in self._places:
            raise UnsupportedModelError(f"{self._name}'s weights lack the tensor {key}")
        try:
            tensor = self._places[key].get_tensor(key)
        except SafetensorError as error:
            raise UnsupportedModelError(
                f"{self._name}'s tensor {key} cannot be read: {error}"
            ) from error
        if tensor.shape != target.shape:
            raise UnsupportedModelError(
                f"{self._name}'s tensor {key} has the shape {list(tensor.shape)}: its "
                f"configuration says {list(target.shape)}"
            )
        target.copy_(tensor)
        self._unread.discard(key)

    def differ(self, key: str, other: str) -> bool:
        """Whether both tensors exist and differ."""
        if not {key, other} <= self._places.keys():
            return False
        first, second = (self._places[name].get_tensor(name) for name in (key, other))
        return not torch.equal(first, second)

    def leave_out(self, key: str) -> None:
        """Marks a tensor as not needed, if it exists."""
        self._unread.discard(key)

    def check_all_read(self) -> None:
        """Makes sure that all tensors of the checkpoint were used: else it is another model.

        Raises:
            UnsupportedModelError: It has tensors that the model has no place for.
        """
        left = sorted(key for key in self._unread if not key.endswith(_DERIVED_SUFFIX))
        if left:
            raise UnsupportedModelError(
                f"{self._name}'s weights have {len(left)} tensors that its architecture has no "
                f"place for, such as {left[0]}"
            )


@torch.no_grad()
def load_weights(model: Transformer, checkpoint: Checkpoint, number_format: NumberFormat) -> int:
    """Loads the weights of a model, and packs its linear layers if the number format says so.

    Returns:
        The number of parameters; an embedding that is tied to the output counts once.

    Raises:
        UnsupportedModelError: Tensors are missing, left over, or of the wrong shape.
    """
    checkpoint.copy(EMBEDDING, model.embedding)
    checkpoint.copy(FINAL_NORM, model.norm.weight)
    num_parameters = model.embedding.numel() + model.norm.weight.numel()
    for index, block in enumerate(model.blocks):
        num_parameters += sum(parameter.numel() for parameter in block.parameters())
        _fill_block(block, f"model.layers.{index}.", model.architecture, checkpoint)
        _pack(block, number_format)
    num_parameters += _fill_head(model, checkpoint)
    _pack(model, number_format)
    checkpoint.check_all_read()
    return num_parameters


def _fill_head(model: Transformer, checkpoint: Checkpoint) -> int:
    """Loads the output layer, and returns how many parameters it adds.

    If the configuration ties it to the embedding but the checkpoint has a different weight, that
    weight is used, as in transformers.
    """
    if model.architecture.tied_embeddings and not checkpoint.differ(HEAD, EMBEDDING):
        checkpoint.leave_out(HEAD)
        model.head.weight = model.embedding
        return 0
    if model.architecture.tied_embeddings:
        logger.warning("the output layer differs from the embedding it should be tied to: kept")
    weight = torch.empty(model.embedding.shape, dtype=model.dtype, device=model.device)
    checkpoint.copy(HEAD, weight)
    model.head.weight = nn.Parameter(weight, requires_grad=False)
    return weight.numel()


def _fill_block(
    block: nn.Module, prefix: str, architecture: Architecture, checkpoint: Checkpoint
) -> None:
    keys_or_values = architecture.num_key_value_heads * architecture.head_size
    queries = architecture.num_heads * architecture.head_size
    sizes = {
        "attention.query_key_value": [queries, keys_or_values, keys_or_values],
        "mlp.gate_up.joined": [architecture.intermediate_size] * 2,
    }
    modules = dict(block.named_modules())
    for name, parts in _BLOCK_PARTS.items():
        if name not in modules:
            continue
        for kind, parameter in modules[name].named_parameters():
            places = parameter.split(sizes.get(name, len(parameter)))
            for part, place in zip(parts, places, strict=True):
                checkpoint.copy(f"{prefix}{part}.{kind}", place)


def _pack(parent: nn.Module, number_format: NumberFormat) -> None:
    """Replaces a module's linear layers by packed ones, recursively."""
    if number_format.pack is None:
        return
    for kind in (GatedLinear, Linear):  # a gated layer may be packed as a whole
        for name, module in list(parent.named_modules()):
            if isinstance(module, kind):
                parent.set_submodule(name, number_format.pack(module))

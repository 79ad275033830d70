"""A language model's architecture, read from its folder's `config.json`.

Model families differ by configuration only. The entries and their defaults are those of
transformers' configuration classes, which are not imported, because they import torch's compiler
and a model that died is back only after its process has imported everything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from triton_models.model.errors import UnsupportedModelError

CONFIG_FILE = "config.json"
GENERATION_CONFIG_FILE = "generation_config.json"
WEIGHTS_FILE = "model.safetensors"
WEIGHTS_INDEX_FILE = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class Rotary:
    """The rotary position embedding (Su et al. 2021) and its scaling to longer contexts.

    Attributes:
        kind: `default`, `linear`, `dynamic`, `yarn` or `llama3`.
        theta: The base of the wavelengths.
        scaling: The parameters of the kind, by transformers' names.
    """

    kind: str = "default"
    theta: float = 10_000.0
    scaling: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Architecture:
    """A decoder-only transformer with RMSNorm, rotary positions and a gated SiLU MLP.

    Attributes:
        family: `qwen2`, `qwen3` or `llama`, the `model_type` of transformers.
        hidden_size: The width of the residual stream.
        num_heads: The number of query heads of a block.
        num_key_value_heads: The number of key/value heads of a block, shared by the query heads.
        max_positions: The maximum context length that the model was trained for, in tokens.
        norm_epsilon: The epsilon of RMSNorm, added to the mean square.
        qk_norm: Whether queries and keys are normalized, head by head.
        dtype: The checkpoint's dtype, by torch's name.
    """

    family: str
    vocabulary_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_key_value_heads: int
    head_size: int
    max_positions: int
    norm_epsilon: float
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    tied_embeddings: bool = False
    rotary: Rotary = Rotary()
    dtype: str = "float32"

    @property
    def key_value_width(self) -> int:
        """The number of elements of a token's keys and values at one block."""
        return 2 * self.num_key_value_heads * self.head_size


_FAMILIES: dict[str, dict[str, Any]] = {
    "qwen2": {"qkv_bias": True, "norm_epsilon": 1e-6},
    "qwen3": {"qk_norm": True, "norm_epsilon": 1e-6, "head_size": 128},
    "llama": {"norm_epsilon": 1e-6},
}
"""The fixed properties of each family, and the defaults of its `config.json`."""

_ROTARY_NEEDS: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": ("factor", "original_max_position_embeddings"),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}
"""The kinds of rotary embedding, with the scaling parameters that each requires."""

_ROTARY_NAMES = {"rope_type", "type", "rope_theta"}
"""The entries that are not scaling parameters."""

SUPPORTED = "Qwen2 and Qwen2.5 (qwen2), Qwen3 without experts (qwen3), Llama and SmolLM2 (llama)"


def read_architecture(folder: Path, name: str) -> Architecture:
    """Reads a model folder's architecture; `name` is the model's in messages.

    Raises:
        UnsupportedModelError: The configuration is missing or broken, or describes a model that the
            forward pass does not support; the message says which.
    """
    config = read_json(folder / CONFIG_FILE)
    if not isinstance(config.get("model_type"), str):
        raise UnsupportedModelError(f"{name}'s {CONFIG_FILE} is missing or broken")
    try:
        return architecture_of(config)
    except _RefusedError as refusal:
        raise UnsupportedModelError(f"{name} {refusal}") from refusal
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise UnsupportedModelError(f"{name}'s {CONFIG_FILE} is broken: {error!r}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Returns a file's JSON object, an empty one if there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


class _RefusedError(Exception):
    """An unsupported property of the model; the message continues a sentence after its name."""


def architecture_of(config: Mapping[str, Any]) -> Architecture:
    """Returns the architecture that a configuration describes."""
    family: str = config["model_type"]
    if family not in _FAMILIES:
        raise _RefusedError(f"is a {family} model: this server runs {SUPPORTED}")
    _refuse_what_is_not_computed(config)
    defaults = _FAMILIES[family]
    hidden_size, num_heads = (_size(config, key) for key in ("hidden_size", "num_attention_heads"))
    num_key_value_heads = _size(config, "num_key_value_heads", num_heads)
    head_size = _size(config, "head_dim", defaults.get("head_size") or hidden_size // num_heads)
    if num_heads % num_key_value_heads or head_size % 2:
        raise _RefusedError(
            f"has {num_heads} query heads, {num_key_value_heads} key/value heads and head size "
            f"{head_size}: the first must be a multiple of the second, and the size even"
        )
    has_bias = bool(config.get("attention_bias", False))
    max_positions = _size(config, "max_position_embeddings")
    return Architecture(
        family=family,
        vocabulary_size=_size(config, "vocab_size"),
        hidden_size=hidden_size,
        intermediate_size=_size(config, "intermediate_size"),
        num_layers=_size(config, "num_hidden_layers"),
        num_heads=num_heads,
        num_key_value_heads=num_key_value_heads,
        head_size=head_size,
        max_positions=max_positions,
        norm_epsilon=float(config.get("rms_norm_eps", defaults["norm_epsilon"])),
        qkv_bias=defaults.get("qkv_bias", has_bias),
        output_bias=has_bias and family != "qwen2",
        mlp_bias=bool(config.get("mlp_bias", False)) and family == "llama",
        qk_norm=defaults.get("qk_norm", False),
        tied_embeddings=config.get("tie_word_embeddings", False) is True,
        rotary=_rotary_of(config, max_positions),
        dtype=str(config.get("dtype") or config.get("torch_dtype") or "float32"),
    )


def _size(config: Mapping[str, Any], key: str, default: int | None = None) -> int:
    value = config.get(key) or default
    if type(value) is not int or value < 1:
        raise ValueError(f"{key} is {value!r}")
    return value


def _refuse_what_is_not_computed(config: Mapping[str, Any]) -> None:
    slides = config.get("use_sliding_window", False) or any(
        kind != "full_attention" for kind in config.get("layer_types") or ()
    )
    if slides:
        raise _RefusedError(
            "uses sliding-window attention, which is not supported: set use_sliding_window to "
            f"false in its {CONFIG_FILE}"
        )
    activation = config.get("hidden_act", "silu")
    if activation != "silu":
        raise _RefusedError(f"has the activation {activation!r}: only 'silu' is supported")
    if config.get("quantization_config"):
        raise _RefusedError(
            "has quantized weights: use the model's bfloat16, float16 or float32 checkpoint"
        )


def _rotary_of(config: Mapping[str, Any], max_positions: int) -> Rotary:
    """Reads both spellings: `rope_parameters`, and the older `rope_theta` with `rope_scaling`."""
    given = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = given.get("rope_type") or given.get("type") or "default"
    if kind not in _ROTARY_NEEDS:
        supported = ", ".join(_ROTARY_NEEDS)
        raise _RefusedError(f"has the rotary embedding {kind!r}: supported are {supported}")
    if (given.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1.0) != 1.0:
        raise _RefusedError("rotates only a part of each head, which is not supported")
    scaling = {key: value for key, value in given.items() if key not in _ROTARY_NAMES}
    if config.get("original_max_position_embeddings"):
        scaling["original_max_position_embeddings"] = config["original_max_position_embeddings"]
    elif not scaling.get("original_max_position_embeddings"):
        scaling["original_max_position_embeddings"] = max_positions
    for need in _ROTARY_NEEDS[kind]:
        if not isinstance(scaling.get(need), (int, float)) or scaling[need] <= 0:
            raise _RefusedError(f"has the rotary embedding {kind!r} without a usable {need!r}")
    if any(isinstance(value, dict) for value in scaling.values()):
        raise _RefusedError("has different rotary embeddings for different kinds of block")
    theta = float(given.get("rope_theta") or config.get("rope_theta") or 10_000.0)
    return Rotary(kind, theta, scaling)


def read_end_ids(folder: Path) -> tuple[int, ...]:
    """Returns the end tokens that a model folder names.

    They are in the generation configuration, or in the model's own if there is none.
    """
    for name in (GENERATION_CONFIG_FILE, CONFIG_FILE):
        path = folder / name
        if path.is_file():
            ids = read_json(path).get("eos_token_id")
            listed = ids if isinstance(ids, list) else [ids]
            return tuple(id for id in listed if type(id) is int)
    return ()


def weight_files(folder: Path) -> list[str]:
    """Returns the names of a model folder's weight files: those in its index, or the single one."""
    index = read_json(folder / WEIGHTS_INDEX_FILE).get("weight_map")
    return sorted(set(index.values())) if index and isinstance(index, dict) else [WEIGHTS_FILE]

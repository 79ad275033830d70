"""Loading a Qwen2.5 model for the engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoConfig, PreTrainedTokenizerBase, Qwen2ForCausalLM

from triton_models.engine.attention import ATTENTION_NAME
from triton_models.engine.packed_linear import pack_linears
from triton_models.engine.sharded_linear import WHOLE_MODEL, ShardPlace, shard_model
from triton_models.lean_transformers import without_compiler
from triton_models.model_folder import UnsupportedModelError, load_tokenizer
from triton_models.settings import ServerSettings

TURN_END = "<|im_end|>"
"""What ends a turn in ChatML, the chat format of Qwen2.5."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready to run, with what belongs to it."""

    model: Qwen2ForCausalLM
    tokenizer: PreTrainedTokenizerBase
    context_length: int
    end_ids: tuple[int, ...]
    compute_dtype: torch.dtype
    """The residual stream's dtype; the weights may be held in another one."""
    num_parameters: int


def load_model(
    folder: Path, settings: ServerSettings, place: ShardPlace = WHOLE_MODEL
) -> LoadedModel:
    """Loads a model, or a device's share of it, for the engine, with `persona_packed` attention.

    Args:
        folder: The model's folder.
        settings: How to load it.
        place: Which share; the GPUs of the shares follow each other.

    Raises:
        UnsupportedModelError: It uses sliding-window attention, or there is no GPU where one is
            asked for, or it cannot be shared by so many devices.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if set(config.layer_types) != {"full_attention"}:
        raise UnsupportedModelError(
            f"{settings.shown_model_name} uses sliding-window attention, which is not supported: "
            "set use_sliding_window to false in its config.json"
        )
    device = choose_device(settings.device, settings.device_index + place.index)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # streams and graphs belong to the thread's current GPU
    with without_compiler():
        model = Qwen2ForCausalLM.from_pretrained(
            folder,
            dtype=_choose_dtype(settings.dtype, device),
            attn_implementation=ATTENTION_NAME,
            local_files_only=True,
        )
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    model.eval().requires_grad_(False)
    shard_model(model, place)
    model.to(device)  # type: ignore[arg-type] # its wrapper loses the signature
    tokenizer = load_tokenizer(folder)
    packs = settings.cpu_packing and device.type == "cpu"
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        context_length=min(config.max_position_embeddings, settings.max_context),
        end_ids=_end_ids(model, tokenizer),
        compute_dtype=pack_linears(model) if packs else model.dtype,
        num_parameters=num_parameters,
    )


def choose_device(name: str, index: int = 0) -> torch.device:
    """Returns the device that a setting means.

    Args:
        name: `auto`, `cpu` or `cuda`.
        index: Which GPU, if it is one.

    Raises:
        UnsupportedModelError: It asks for a GPU and there is none.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UnsupportedModelError("DEVICE is cuda, but no GPU is visible: set DEVICE=cpu or auto")
    return torch.device("cuda", index) if available and name != "cpu" else torch.device("cpu")


def _choose_dtype(name: str, device: torch.device) -> torch.dtype | str:
    if name != "auto":
        dtype: torch.dtype = getattr(torch, name)
        return dtype
    return torch.float32 if device.type == "cpu" else "auto"


def _end_ids(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Returns the tokens that end an answer.

    They are the generation config's, the tokenizer's own, and the end of a chat turn where there is
    a chat template: Qwen2.5's base models have the template but do not name that end.
    """
    configured = model.generation_config.eos_token_id
    ids = set(configured if isinstance(configured, list) else [configured])
    ids.add(tokenizer.eos_token_id)
    if tokenizer.chat_template:
        ids.add(tokenizer.get_vocab().get(TURN_END))
    return tuple(sorted(id for id in ids if id is not None))

"""Loads a model and its tokenizer from a folder."""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch

from triton_models.model.architecture import read_architecture, read_end_ids
from triton_models.model.checkpoint import Checkpoint, load_weights
from triton_models.model.errors import UnsupportedModelError
from triton_models.model.gpu_driver import driver_version, is_too_old, why_no_gpu
from triton_models.model.linear import choose_number_format
from triton_models.model.tokenizer import load_tokenizer
from triton_models.model.transformer import Transformer
from triton_models.settings import ServerSettings
from triton_models.text.tokenizer import Tokenizer

logger = logging.getLogger(__name__)

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

TURN_END = "<|im_end|>"
"""The end of a turn in ChatML, the chat format of Qwen2.5."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is ready to run, with its tokenizer.

    Attributes:
        context_length: The maximum number of tokens of a prompt and its answer together.
        end_ids: The tokens that end an answer.
        dtype: The configured dtype of the weights; a CPU may compute in another one.
    """

    model: Transformer
    tokenizer: Tokenizer
    context_length: int
    end_ids: tuple[int, ...]
    dtype: torch.dtype
    num_parameters: int


def load_model(folder: Path, settings: ServerSettings) -> LoadedModel:
    """Loads a model.

    Raises:
        UnsupportedModelError: Its architecture is not supported, its files do not match each other,
            or the settings require a GPU and there is none.
    """
    name = settings.shown_model_name
    architecture = read_architecture(folder, name)
    device = choose_device(settings.device, settings.device_index)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # streams and graphs belong to the thread's current GPU
    dtype = _choose_dtype(settings.dtype, architecture.dtype, device)
    number_format = choose_number_format(dtype, device, packing=settings.cpu_packing)
    context_length = min(architecture.max_positions, settings.max_context)
    model = Transformer(architecture, number_format, context_length, device)
    with closing(Checkpoint(folder, name)) as checkpoint:
        num_parameters = load_weights(model, checkpoint, number_format)
    tokenizer = load_tokenizer(folder)
    return LoadedModel(
        model=model.eval(),
        tokenizer=tokenizer,
        context_length=context_length,
        end_ids=_end_ids(folder, tokenizer, architecture.vocabulary_size),
        dtype=dtype,
        num_parameters=num_parameters,
    )


def choose_device(name: str, index: int = 0) -> torch.device:
    """Returns the device of a setting: `auto`, `cpu` or `cuda`.

    Raises:
        UnsupportedModelError: It requires a GPU and there is none.
    """
    if name == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda", index)
    driver, cuda = driver_version(), torch.version.cuda
    if name == "cuda":
        raise UnsupportedModelError(f"DEVICE is cuda, but {why_no_gpu(driver, cuda)}")
    if is_too_old(driver, cuda):
        logger.warning("the model runs on the CPU: %s", why_no_gpu(driver, cuda))
    return torch.device("cpu")


def _choose_dtype(wanted: str, checkpoint: str, device: torch.device) -> torch.dtype:
    if wanted == "auto":
        wanted = "float32" if device.type == "cpu" else checkpoint
    if wanted not in _DTYPES:
        raise UnsupportedModelError(
            f"the model's number format is {wanted!r}: set DTYPE to one of {', '.join(_DTYPES)}"
        )
    return _DTYPES[wanted]


def _end_ids(folder: Path, tokenizer: Tokenizer, vocabulary_size: int) -> tuple[int, ...]:
    """Returns the tokens that end an answer.

    These are the configuration's, the tokenizer's, and the end of a chat turn if there is a chat
    template: Qwen2.5's base models have the template but do not name that token. Tokens beyond the
    vocabulary are left out.
    """
    ids = {*read_end_ids(folder), tokenizer.end_id}
    if tokenizer.chat_templates:
        ids.add(tokenizer.token_id(TURN_END))
    return tuple(sorted(id for id in ids if id is not None and 0 <= id < vocabulary_size))

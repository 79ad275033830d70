"""Finding a Qwen2.5 model's folder, and its tokenizer, without loading its weights."""

from __future__ import annotations

import json
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from triton_models.settings import DEMO_MODEL_FOLDER, ServerSettings
from triton_models.text.token_bytes import is_byte_level

MODEL_FILES = ("*.json", "*.safetensors", "*.txt", "*.jinja")
"""The files of a hub repository that serving needs."""


MODEL_TYPE = "qwen2"
"""The architecture of Qwen2.5 models in transformers."""


class ModelNotFoundError(Exception):
    """The model is not on this machine; the message says how to get it."""


class UnsupportedModelError(Exception):
    """The model is there but cannot be served."""


def find_model(settings: ServerSettings) -> Path:
    """Returns the folder of the configured model. Never goes to the network.

    Raises:
        ModelNotFoundError: It is neither a folder nor a model downloaded before.
        UnsupportedModelError: It is there, but it is not a Qwen2.5 model.
    """
    folder = _locate(settings)
    try:
        model_type = json.loads((folder / "config.json").read_text())["model_type"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UnsupportedModelError(f"{folder}/config.json is missing or broken") from error
    if model_type != MODEL_TYPE:
        raise UnsupportedModelError(
            f"{settings.shown_model_name} is a {model_type} model: this server runs Qwen2.5 "
            f"(model_type {MODEL_TYPE}) only"
        )
    _check_weights(folder, settings)
    return folder


def _check_weights(folder: Path, settings: ServerSettings) -> None:
    """Makes sure that no weight file is missing, as after a download that was interrupted."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = set(json.loads(index.read_text())["weight_map"].values())
    else:
        names = {"model.safetensors"}
    missing = sorted(name for name in names if not (folder / name).is_file())
    if missing:
        raise ModelNotFoundError(
            f"the model {settings.shown_model_name} is incomplete, it lacks {', '.join(missing)}: "
            f"fetch the rest with '.venv/bin/python scripts/download_models.py "
            f"{settings.shown_model_name}'"
        )


def _locate(settings: ServerSettings) -> Path:
    name = settings.model_name
    if not name:
        if not DEMO_MODEL_FOLDER.is_dir():
            raise ModelNotFoundError(
                "the demo model is missing from data/models/demo: restore it with "
                "'git checkout data/models/demo', or set MODEL_NAME"
            )
        return DEMO_MODEL_FOLDER
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    try:
        return Path(
            snapshot_download(
                name,
                cache_dir=settings.model_cache,
                allow_patterns=list(MODEL_FILES),
                local_files_only=True,
            )
        )
    except HFValidationError as error:
        raise ModelNotFoundError(
            f"MODEL_NAME={name} is neither a folder nor a hub id such as Qwen/Qwen2.5-3B-Instruct"
        ) from error
    except LocalEntryNotFoundError as error:
        raise ModelNotFoundError(
            f"the model {name} is not in {settings.model_cache}: fetch it with "
            f"'.venv/bin/python scripts/download_models.py {name}', or unset MODEL_NAME to serve "
            "the demo model"
        ) from error


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Loads a model folder's tokenizer.

    Raises:
        UnsupportedModelError: The tokenizer is missing or broken, or not of Qwen2.5's kind.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, local_files_only=True
        )
    except (OSError, ValueError) as error:
        raise UnsupportedModelError(f"{folder.name} has no usable tokenizer: {error}") from error
    if not is_byte_level(tokenizer):
        raise UnsupportedModelError(
            f"{folder.name} has a tokenizer that is not a byte-level BPE, as Qwen2.5's are"
        )
    return tokenizer

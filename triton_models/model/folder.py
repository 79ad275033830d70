"""Finds a model's folder, importing little: whoever starts a server looks for it first."""

from __future__ import annotations

from pathlib import Path

from triton_models.model.architecture import read_architecture, weight_files
from triton_models.model.errors import ModelMissingError
from triton_models.settings import DEFAULT_MODEL, DEMO, DEMO_MODEL_FOLDER, ServerSettings

MODEL_FILES = ("*.json", "*.safetensors", "*.txt", "*.jinja")


def find_model(settings: ServerSettings) -> Path:
    """Returns the folder of the configured model, without using the network.

    Raises:
        ModelMissingError: It is neither a folder nor a downloaded model.
        UnsupportedModelError: Its architecture is not supported.
    """
    folder = _locate(settings)
    read_architecture(folder, settings.shown_model_name)
    missing = [name for name in weight_files(folder) if not (folder / name).is_file()]
    if missing:  # as after an interrupted download
        raise ModelMissingError(
            f"the model {settings.shown_model_name} is incomplete, it lacks {', '.join(missing)}: "
            f"fetch the rest with '{_download_command(settings)}'"
        )
    return folder


def _locate(settings: ServerSettings) -> Path:
    name = settings.model_name
    if name == DEMO:
        if not DEMO_MODEL_FOLDER.is_dir():
            raise ModelMissingError(
                "the demo model is missing from data/models/demo: restore it with "
                "'git checkout data/models/demo', or set MODEL_NAME"
            )
        return DEMO_MODEL_FOLDER
    folder = Path(name).expanduser()
    return folder if folder.is_dir() else _downloaded(settings)


def _downloaded(settings: ServerSettings) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    name = settings.model_name
    try:
        return Path(
            snapshot_download(
                name,
                revision=settings.model_revision or None,
                cache_dir=settings.model_cache,
                allow_patterns=list(MODEL_FILES),
                local_files_only=True,
            )
        )
    except HFValidationError as error:
        raise ModelMissingError(
            f"the model {name} is neither a folder nor a hub id such as {DEFAULT_MODEL}"
        ) from error
    except LocalEntryNotFoundError as error:
        at = f" at {settings.model_revision}" if settings.model_revision else ""
        raise ModelMissingError(
            f"the model {settings.shown_model_name}{at} is neither a folder nor in "
            f"{settings.model_cache}: fetch it with '{_download_command(settings)}', or take "
            "the demo model: MODEL_NAME or --model is then demo"
        ) from error


def _download_command(settings: ServerSettings) -> str:
    """Returns the command that downloads the configured model."""
    revision = f" --revision {settings.model_revision}" if settings.model_revision else ""
    return f".venv/bin/python scripts/download_models.py {settings.shown_model_name}{revision}"

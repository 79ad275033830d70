#!/usr/bin/env python3
"""Fetches Qwen2.5 models from the hub, with progress bars; an interrupted download resumes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import httpx2
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from triton_models.model.folder import MODEL_FILES
from triton_models.settings import SettingsError, read_settings

DEFAULT_MODEL = "Qwen/Qwen2.5-3B-Instruct"
EXAMPLES = ", ".join(f"Qwen/Qwen2.5-{size}[-Instruct]" for size in ("1.5B", "3B", "7B"))


def main() -> int:
    """Fetches each model named and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=[DEFAULT_MODEL], help=f"hub ids ({EXAMPLES})")
    parser.add_argument("--cache", type=Path, help="where to keep them (default: MODEL_CACHE_DIR)")
    arguments = parser.parse_args()
    try:
        cache = arguments.cache or read_settings().model_cache
        for model in arguments.models:
            print(f"{model} -> {download(model, cache)}")
    except (DownloadError, SettingsError) as error:
        print(f"download_models: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("download_models: interrupted; run it again to resume", file=sys.stderr)
        return 130
    return 0


class DownloadError(Exception):
    """A model cannot be fetched; the message says why."""


def download(model: str, cache: Path) -> str:
    """Fetches a model and returns its folder.

    Raises:
        DownloadError: The hub cannot be reached, or does not give the model.
    """
    try:
        return snapshot_download(model, cache_dir=cache, allow_patterns=list(MODEL_FILES))
    except HFValidationError as error:
        raise DownloadError(f"{model} is not a hub id such as {DEFAULT_MODEL}") from error
    except GatedRepoError as error:
        raise DownloadError(
            f"{model} is gated: accept its terms on the hub and set HF_TOKEN"
        ) from error
    except RepositoryNotFoundError as error:
        raise DownloadError(f"the hub has no model {model}: check its name") from error
    except (LocalEntryNotFoundError, httpx2.HTTPError, OSError) as error:
        raise DownloadError(
            f"the hub cannot be reached, so {model} was not fetched: check the network and run "
            "this again"
        ) from error


if __name__ == "__main__":
    sys.exit(main())

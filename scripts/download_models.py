#!/usr/bin/env python3
"""Fetches Qwen2.5 models from the hub, with progress bars; an interrupted download resumes.

Proxies (HTTPS_PROXY, NO_PROXY), certificate authorities (SSL_CERT_FILE), a mirror (HF_ENDPOINT) and
a token (HF_TOKEN) are taken from the environment.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx2
from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from triton_models.model.folder import MODEL_FILES
from triton_models.settings import DEFAULT_MODEL, ServerSettings
from triton_models.variables import SettingsError

EXAMPLES = ", ".join(f"Qwen/Qwen2.5-{size}[-Instruct]" for size in ("1.5B", "3B", "7B"))
LOOK_SECONDS = 2.0
"""How often it is looked whether somebody else has fetched a model."""


class DownloadError(Exception):
    """A model cannot be fetched; the message says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetches each model named, or waits for it, and returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("models", nargs="*", help=f"hub ids ({EXAMPLES}; default {DEFAULT_MODEL})")
    parser.add_argument("--cache", type=Path, help="where to keep them (default: MODEL_CACHE_DIR)")
    parser.add_argument(
        "--revision", help="a commit, branch or tag of the model (default: MODEL_REVISION, or main)"
    )
    parser.add_argument(
        "--wait",
        type=float,
        metavar="SECONDS",
        help="fetch nothing, but wait so long for somebody else to have done it",
    )
    chosen = parser.parse_args(arguments)
    models = chosen.models or [DEFAULT_MODEL]
    try:
        settings = ServerSettings.read()
        revision = chosen.revision or settings.model_revision
        if revision and len(models) > 1:
            raise DownloadError("a revision belongs to one model: fetch them one by one")
        cache = chosen.cache or settings.model_cache
        for model in models:
            if chosen.wait is None:
                folder = download(model, cache, revision)
            else:
                folder = wait_for(model, cache, revision, chosen.wait)
            print(f"{model} -> {folder}")
    except (DownloadError, SettingsError) as error:
        print(f"download_models: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("download_models: interrupted; run it again to resume", file=sys.stderr)
        return 130
    return 0


def download(model: str, cache: Path, revision: str) -> str:
    """Fetches a model and returns its folder.

    Raises:
        DownloadError: The hub does not give the model, or it cannot be written down.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        return snapshot_download(
            model, revision=revision or None, cache_dir=cache, allow_patterns=list(MODEL_FILES)
        )
    except Exception as error:
        raise DownloadError(_reason(error, model, cache, revision)) from error


def wait_for(model: str, cache: Path, revision: str, seconds: float) -> str:
    """Returns a model's folder once it is there as a whole.

    Raises:
        DownloadError: It is not there after that time.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return snapshot_download(
                model,
                revision=revision or None,
                cache_dir=cache,
                allow_patterns=list(MODEL_FILES),
                local_files_only=True,
            )
        except HFValidationError as error:
            raise DownloadError(_reason(error, model, cache, revision)) from error
        except LocalEntryNotFoundError as error:
            if time.monotonic() >= deadline:
                raise DownloadError(
                    f"{_named(model, revision)} is not in {cache} after {seconds:g} s: look at the "
                    "log of what fetches it"
                ) from error
        time.sleep(min(LOOK_SECONDS, max(0.0, deadline - time.monotonic())))


def _reason(error: Exception, model: str, cache: Path, revision: str) -> str:
    """Returns why a model was not fetched, and what to do."""
    if isinstance(error, HFValidationError):
        return f"{model} is not a hub id such as {DEFAULT_MODEL}"
    if isinstance(error, GatedRepoError):
        return f"{model} is gated: accept its terms on the hub and set HF_TOKEN"
    if isinstance(error, RepositoryNotFoundError):
        return f"the hub has no model {model}: check its name"
    if isinstance(error, RevisionNotFoundError):
        return f"the hub's {model} has no revision {revision}: check MODEL_REVISION or --revision"
    causes = list(_causes(error))
    for refusal in (each for each in causes if isinstance(each, HfHubHTTPError)):
        return f"the hub refuses {model} with status {refusal.response.status_code}"
    for failure in (each for each in causes if isinstance(each, httpx2.HTTPError)):
        return (
            f"the hub cannot be reached at {constants.ENDPOINT}, so {model} was not fetched "
            f"({failure}): check the network, HTTPS_PROXY, SSL_CERT_FILE and HF_ENDPOINT, and run "
            "this again"
        )
    numbers = {each.errno for each in causes if isinstance(each, OSError)}
    # The native downloader's errors are text alone.
    text = str(error)
    if numbers & {errno.ENOSPC, errno.EDQUOT} or "os error 28" in text or "os error 122" in text:
        return (
            f"the disk of {cache} is full, so {model} was not fetched: make room there, or keep "
            "models elsewhere (MODEL_CACHE_DIR), and run this again to resume"
        )
    if numbers & {errno.EACCES, errno.EPERM, errno.EROFS} or "os error 13" in text:
        return (
            f"user {os.getuid()} may not write to {cache}, so {model} was not fetched: give it "
            "that right, or keep models elsewhere (MODEL_CACHE_DIR)"
        )
    return f"{_named(model, revision)} was not fetched: {text or type(error).__name__}"


def _named(model: str, revision: str) -> str:
    return f"{model} at {revision}" if revision else model


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yields an error, and those that led to it."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


if __name__ == "__main__":
    sys.exit(main())

"""The errors of a run that are the user's to act on: each says in one line what is wrong."""

from __future__ import annotations

from triton_models.contract.errors import RequestError
from triton_models.model.errors import (
    KVCacheTooSmallError,
    ModelMissingError,
    UnsupportedModelError,
)
from triton_models.variables import SettingsError
from triton_models.vectors.persona_vector import VectorFileError


class ResearchError(Exception):
    """A trait, a task, answers or options are not what a run needs; the message says why."""


def why_unreadable(error: OSError | UnicodeDecodeError) -> str:
    """Returns why a file of text cannot be read, without its name."""
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8, at byte {error.start}"
    return error.strerror or str(error)


USER_ERRORS: tuple[type[Exception], ...] = (
    KVCacheTooSmallError,
    ModelMissingError,
    RequestError,
    ResearchError,
    SettingsError,
    UnsupportedModelError,
    VectorFileError,
)

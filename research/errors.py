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


USER_ERRORS: tuple[type[Exception], ...] = (
    KVCacheTooSmallError,
    ModelMissingError,
    RequestError,
    ResearchError,
    SettingsError,
    UnsupportedModelError,
    VectorFileError,
)

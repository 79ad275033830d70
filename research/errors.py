"""The errors of a run that are the user's to act on: each says in one line what is wrong."""

from __future__ import annotations

from research.candidates import CandidateError
from research.definitions import TraitDefinitionError
from research.evaluation.trait_evaluation import EvaluationError
from research.extraction import ExtractionError
from research.judges.judge import JudgeError
from research.model import AnswerFailedError
from triton_models.engine.kv_size import KVCacheTooSmallError
from triton_models.errors import RequestError
from triton_models.model.errors import ModelMissingError, UnsupportedModelError
from triton_models.settings import SettingsError
from triton_models.vectors.persona_vector import VectorFileError

USER_ERRORS: tuple[type[Exception], ...] = (
    AnswerFailedError,
    CandidateError,
    EvaluationError,
    ExtractionError,
    JudgeError,
    KVCacheTooSmallError,
    ModelMissingError,
    RequestError,
    SettingsError,
    TraitDefinitionError,
    UnsupportedModelError,
    VectorFileError,
)

"""The errors of a run that are the user's to act on: each says in one line what is wrong."""

from __future__ import annotations

from persona_research.calibration import CalibrationError
from persona_research.candidates import CandidateError
from persona_research.capability.task import CapabilityError
from persona_research.definitions import TraitDefinitionError
from persona_research.evaluation.trait_evaluation import EvaluationError
from persona_research.extraction import ExtractionError
from persona_research.judges.judge import JudgeError
from persona_research.making import MakingError
from persona_research.model import AnswerFailedError
from persona_research.turns import AnswerSettingsError
from triton_models.contract.errors import RequestError
from triton_models.engine.kv_size import KVCacheTooSmallError
from triton_models.model.errors import ModelMissingError, UnsupportedModelError
from triton_models.variables import SettingsError
from triton_models.vectors.persona_vector import VectorFileError

USER_ERRORS: tuple[type[Exception], ...] = (
    AnswerFailedError,
    AnswerSettingsError,
    CalibrationError,
    CandidateError,
    CapabilityError,
    EvaluationError,
    ExtractionError,
    JudgeError,
    KVCacheTooSmallError,
    MakingError,
    ModelMissingError,
    RequestError,
    SettingsError,
    TraitDefinitionError,
    UnsupportedModelError,
    VectorFileError,
)

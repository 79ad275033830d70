"""An evaluation as JSON: every number, every answer, every setting."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from persona_research.evaluation.conditions import Condition
from persona_research.evaluation.doses import MeasuredAnswer
from persona_research.evaluation.evaluation import Evaluation
from persona_research.evaluation.trait_evaluation import TraitEvaluation

VERSION = 1


def as_document(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation as JSON values; what could not be measured is null."""
    document = {
        "version": VERSION,
        "model": evaluation.model.name,
        "weights_sha256": evaluation.model.weights_sha256,
        "judge": evaluation.judge,
        "scale": dataclasses.asdict(evaluation.scale),
        "settings": dataclasses.asdict(evaluation.settings),
        "traits": [_trait(trait) for trait in evaluation.traits],
        "movements": [dataclasses.asdict(each) for each in evaluation.movements],
        "cosines": [dataclasses.asdict(each) for each in evaluation.cosines],
    }
    finite: dict[str, Any] = _finite(document)
    return finite


def _trait(trait: TraitEvaluation) -> dict[str, Any]:
    return {
        "trait_name": trait.vector.trait_name,
        "vector_sha256": trait.vector.sha256,
        "norms": trait.vector.norms,
        "residual_norms": dict(trait.residual_norms),
        "choice": dataclasses.asdict(trait.choice),
        "unit_scale": trait.unit_scale and dataclasses.asdict(trait.unit_scale),
        "asked": dataclasses.asdict(trait.asked),
        "control": [dataclasses.asdict(dose) for dose in trait.control],
        "curves": [dataclasses.asdict(curve) for curve in trait.curves],
        "answers": [_answers(condition, group) for condition, group in trait.answers.items()],
    }


def _answers(condition: Condition, group: Sequence[MeasuredAnswer]) -> dict[str, Any]:
    return {
        "layers": list(condition.blocks),
        "scalar": condition.scalar,
        "system_prompts": list(condition.system_prompts),
        "answers": [dataclasses.asdict(answer) for answer in group],
    }


def _finite(value: Any) -> Any:
    """The value with null for each number that JSON has no word for."""
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

"""What an evaluation leaves in a vector's file."""

from __future__ import annotations

import dataclasses
from typing import Any

from persona_research.evaluation.choice import Candidate
from persona_research.evaluation.trait_evaluation import EvaluationSettings, TraitEvaluation
from triton_models.vectors.calibration import ModelIdentity
from triton_models.vectors.persona_vector import PersonaVector
from triton_models.vectors.unit_scale import UNIT_SCALE, unit_scale_document

_DIGITS = 4
_ESTIMATED = ("perplexity", "divergence", "repetition", "tokens")


def with_choice(
    trait: TraitEvaluation, model: ModelIdentity, settings: EvaluationSettings
) -> PersonaVector:
    """The vector with the chosen blocks, range and doses in its metadata, its numbers unchanged.

    Raises:
        ValueError: Nothing was chosen.
    """
    chosen, curve = trait.choice.chosen, trait.chosen_curve
    if chosen is None or curve is None:
        raise ValueError(f"no block turns {trait.vector.trait_name!r}: there is nothing to write")
    # `selected_layer` is the older name of the same fact.
    kept = {key: value for key, value in trait.vector.metadata.items() if key != "selected_layer"}
    evaluation: dict[str, Any] = {
        "model": model.name,
        "judge": trait.judge,
        "unit": trait.scale.unit,
        "questions": trait.num_questions,
        **dataclasses.asdict(settings.sampling),
        "rule": dataclasses.asdict(settings.rule),
        "doses": [
            {
                "scalar": dose.scalar,
                trait.scale.name: _rounded(dose.score.value),
                **{name: _rounded(getattr(dose, name).value) for name in _ESTIMATED},
                "ended": _rounded(dose.ended),
            }
            for dose in curve.doses
        ],
        "candidates": [_candidate(candidate) for candidate in trait.choice.candidates],
    }
    metadata = {
        **kept,
        "selected_layers": list(chosen.blocks),
        "recommended_range": [chosen.range.low, chosen.range.high],
        "evaluation": evaluation,
    }
    vector = dataclasses.replace(trait.vector, metadata=metadata)
    return vector if trait.unit_scale is None else with_unit_scale(vector, trait, model)


def with_unit_scale(
    vector: PersonaVector, trait: TraitEvaluation, model: ModelIdentity
) -> PersonaVector:
    """The vector with the scalars that do as much as asking, which must have been found."""
    curve = trait.chosen_curve or trait.curves[0]
    if trait.unit_scale is None:
        raise ValueError(f"the evaluation of {vector.trait_name!r} has no unit_scale")
    document = unit_scale_document(
        {curve.blocks: trait.unit_scale}, model, trait.judge, trait.num_questions
    )
    return dataclasses.replace(vector, metadata={**vector.metadata, UNIT_SCALE: document})


def _candidate(candidate: Candidate) -> dict[str, Any]:
    return {
        "layers": list(candidate.blocks),
        "range": [candidate.range.low, candidate.range.high],
        **{name: _rounded(getattr(candidate, name)) for name in ("gain", "divergence")},
    }


def _rounded(value: float) -> float:
    return round(value, _DIGITS)

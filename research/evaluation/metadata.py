"""What an evaluation leaves in a vector's file."""

from __future__ import annotations

import dataclasses
from typing import Any

from persona_research.evaluation.choice import Candidate
from persona_research.evaluation.trait_evaluation import EvaluationSettings, TraitEvaluation
from triton_models.vectors.persona_vector import PersonaVector

_DIGITS = 4
_ESTIMATED = ("perplexity", "repetition", "tokens")


def with_choice(trait: TraitEvaluation, model: str, settings: EvaluationSettings) -> PersonaVector:
    """The vector with the chosen blocks and range in its metadata, its numbers unchanged.

    Raises:
        ValueError: Nothing was chosen.
    """
    chosen, curve = trait.choice.chosen, trait.chosen_curve
    if chosen is None or curve is None:
        raise ValueError(f"no block turns {trait.vector.trait_name!r}: there is nothing to write")
    # `selected_layer` is the older name of the same fact.
    kept = {key: value for key, value in trait.vector.metadata.items() if key != "selected_layer"}
    evaluation: dict[str, Any] = {
        "model": model,
        "judge": trait.judge,
        "unit": trait.scale.unit,
        "questions": curve.unsteered.answers,
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
    return dataclasses.replace(trait.vector, metadata=metadata)


def _candidate(candidate: Candidate) -> dict[str, Any]:
    return {
        "layers": list(candidate.blocks),
        "range": [candidate.range.low, candidate.range.high],
        **{name: _rounded(getattr(candidate, name)) for name in ("gain", "loss", "push")},
    }


def _rounded(value: float) -> float:
    return round(value, _DIGITS)

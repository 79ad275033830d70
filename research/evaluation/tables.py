"""All numbers of an evaluation as tables: CSV for programs, Markdown for people."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from persona_research.evaluation.doses import Dose
from persona_research.evaluation.estimates import Estimate
from persona_research.judges.judge import Scale

if TYPE_CHECKING:  # these import torch, which a table does not need
    from persona_research.evaluation.evaluation import Evaluation
    from persona_research.evaluation.trait_evaluation import TraitEvaluation

Row = Mapping[str, object]

_DIGITS = 6
_COMPARED = ("gain", "divergence", "gain_per_nat", "spearman")


def dose_rows(evaluation: Evaluation) -> list[Row]:
    """A row for each trait, set of blocks and scalar; then the random vectors that were tried."""
    measured = [
        (trait, curve, dose, "own")
        for trait in evaluation.traits
        for curve in trait.curves
        for dose in curve.doses
    ]
    measured += [
        (trait, trait.chosen_curve, dose, "random")
        for trait in evaluation.traits
        if trait.chosen_curve is not None
        for dose in trait.control
    ]
    return [
        {
            "trait": trait.vector.trait_name,
            "vector": vector,
            "blocks": blocks_text(curve.blocks),
            "scalar": dose.scalar,
            "residual_share": round(abs(dose.scalar) * curve.residual_share, _DIGITS),
            "chosen": vector == "own" and _is_chosen(trait, curve.blocks, dose.scalar),
            **_measures(dose, trait.scale),
        }
        for trait, curve, dose, vector in measured
    ]


def candidate_rows(evaluation: Evaluation) -> list[Row]:
    """A row for each trait and set of blocks: what the rule made of it."""
    return [
        {
            "trait": trait.vector.trait_name,
            "blocks": blocks_text(candidate.blocks),
            "chosen": candidate == trait.choice.chosen,
            "low": candidate.range.low,
            "high": candidate.range.high,
            "unit": trait.scale.unit,
            **{name: round(getattr(candidate, name), _DIGITS) for name in _COMPARED},
            "why_low": candidate.range.why_low,
            "why_high": candidate.range.why_high,
        }
        for trait in evaluation.traits
        for candidate in trait.choice.candidates
    ]


def movement_rows(evaluation: Evaluation) -> list[Row]:
    """A row for each steered trait, scalar and judged trait."""
    return [
        {
            "steered": each.steered,
            "judged": each.judged,
            "scalar": each.scalar,
            "answers": each.answers,
            "unit": evaluation.scale.unit,
            **estimate_columns("change", each.change),
        }
        for each in evaluation.movements
    ]


def cosine_rows(evaluation: Evaluation) -> list[Row]:
    """A row for each block and pair of traits."""
    return [
        {"block": table.block, "first": first, "second": second, "cosine": round(value, _DIGITS)}
        for table in evaluation.cosines
        for first, row in zip(table.traits, table.values, strict=True)
        for second, value in zip(table.traits, row, strict=True)
    ]


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Writes rows, all of the same columns; nothing when there are none."""
    if not rows:
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def blocks_text(blocks: Sequence[int]) -> str:
    """Blocks as one word: `1` or `1+2`."""
    return "+".join(map(str, blocks))


def scalar_text(scalar: float) -> str:
    """A scalar with its sign."""
    return f"{scalar:+g}" if scalar else "0"


def estimate_columns(name: str, estimate: Estimate) -> dict[str, object]:
    """A number and its interval as three columns."""
    return {
        name: round(estimate.value, _DIGITS),
        f"{name}_low": round(estimate.low, _DIGITS),
        f"{name}_high": round(estimate.high, _DIGITS),
    }


def interval_text(estimate: Estimate, form: str = "+.0f") -> str:
    """A number with its interval, each in a format: `0.8 [0.7, 0.9]`."""
    value, low, high = (
        format(each, form) for each in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} [{low}, {high}]"


def _is_chosen(trait: TraitEvaluation, blocks: tuple[int, ...], scalar: float) -> bool:
    chosen = trait.choice.chosen
    return (
        chosen is not None
        and chosen.blocks == blocks
        and chosen.range.low <= scalar <= chosen.range.high
    )


def _measures(dose: Dose, scale: Scale) -> dict[str, object]:
    return {
        "answers": dose.answers,
        "unscored": dose.unscored,
        **estimate_columns(scale.name, dose.score),
        **estimate_columns("perplexity", dose.perplexity),
        **estimate_columns("divergence", dose.divergence),
        **estimate_columns("repetition", dose.repetition),
        **estimate_columns("tokens", dose.tokens),
        "ended": round(dose.ended, _DIGITS),
    }

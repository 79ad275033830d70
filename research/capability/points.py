"""What was measured of a task at each strength of steering."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from persona_research.capability.task import Item
from persona_research.evaluation.estimates import Estimate, mean


@dataclass(frozen=True, slots=True)
class Point:
    """One number of one task under one steering.

    Attributes:
        measure: What the number is.
        trait: The trait that was steered.
        items: How many questions it is the mean of.
    """

    task: str
    measure: str
    trait: str
    scalar: float
    items: int
    estimate: Estimate


ScoresByScalar = Mapping[float, Sequence[Sequence[float]]]
"""For each scalar, and each question of a task, the log-likelihood of each of its choices."""


def points_of(task: str, trait: str, items: Sequence[Item], scores: ScoresByScalar) -> list[Point]:
    """Summarises the choices' log-likelihoods, scalar by scalar, of which 0 must be one.

    *accuracy*: the share of questions whose right choice is the likeliest.
    *accuracy by length*: the same of log-likelihoods divided by the choices' characters, so that
    long ones are not at a disadvantage.
    *probability*: the right choice's among the question's, which moves before the accuracy does.
    *change*: of the accuracy from scalar 0, question by question, so that its interval is narrower
    than the difference of two accuracies suggests.
    """
    points = []
    unsteered = _of_each(_is_likeliest, items, scores[0.0])
    for scalar in sorted(scores):
        hits = _of_each(_is_likeliest, items, scores[scalar])
        values = {
            "accuracy": hits,
            "accuracy by length": _of_each(_is_likeliest_by_length, items, scores[scalar]),
            "probability": _of_each(_probability, items, scores[scalar]),
            "change": [hit - before for hit, before in zip(hits, unsteered, strict=True)],
        }
        points += [
            Point(task, measure, trait, scalar, len(items), mean(each))
            for measure, each in values.items()
        ]
    return points


def _of_each(
    measure: Callable[[Item, Sequence[float]], float],
    items: Sequence[Item],
    scores: Sequence[Sequence[float]],
) -> list[float]:
    return [measure(item, each) for item, each in zip(items, scores, strict=True)]


def _is_likeliest(item: Item, scores: Sequence[float]) -> float:
    return float(scores.index(max(scores)) == item.answer)


def _is_likeliest_by_length(item: Item, scores: Sequence[float]) -> float:
    by_length = [score / len(choice) for choice, score in zip(item.choices, scores, strict=True)]
    return _is_likeliest(item, by_length)


def _probability(item: Item, scores: Sequence[float]) -> float:
    best = max(scores)
    weights = [math.exp(score - best) for score in scores]
    return weights[item.answer] / sum(weights)

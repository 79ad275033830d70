"""Whether two halves of an extraction's pairs of answers agree on the vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from persona_research.model import ResearchModel
from persona_research.plain_pass import Pair
from persona_research.progress import OnDone
from persona_research.residuals import ResidualMeans


@dataclass(frozen=True, slots=True)
class Poles:
    """The mean residuals of some positive answers, and of the negative ones of their pairs."""

    positive: ResidualMeans
    negative: ResidualMeans

    @property
    def num_answers(self) -> int:
        """The number of answers of both."""
        return self.positive.answers + self.negative.answers

    def __add__(self, other: Poles) -> Poles:
        return Poles(self.positive + other.positive, self.negative + other.negative)


def poles_of(
    model: ResearchModel,
    positive: Sequence[Pair],
    negative: Sequence[Pair],
    on_done: OnDone,
    before: int,
) -> Poles:
    """Measures both poles' answers; `before` is how many have been measured."""
    first = model.residual_means(positive, partial(_beyond, on_done, before))
    before += len(positive)
    return Poles(first, model.residual_means(negative, partial(_beyond, on_done, before)))


def split_half_cosines(first: Poles, second: Poles) -> dict[str, float] | None:
    """The cosine of the two halves' vectors at each block; `None` if a half has no answers.

    It is near 1 where the poles differ in the same way whatever is asked, and near 0 where what
    looks like a direction is chance.
    """
    if not first.positive.answers or not second.positive.answers:
        return None
    cosines = {}
    for block in sorted(first.positive.sums):
        one, other = (
            half.positive.mean(block) - half.negative.mean(block) for half in (first, second)
        )
        lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
        cosines[str(block)] = round(float(one @ other) / lengths, 4) if lengths else 0.0
    return cosines


def _beyond(on_done: OnDone, before: int, done: int) -> None:
    on_done(before + done)

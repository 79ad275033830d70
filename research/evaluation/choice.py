"""The rule that chooses the blocks to steer and the range of scalars to recommend.

In short: of the blocks that turn the trait about as far as the best one, take the one that turns it
the furthest for what it changes of the model; recommend the scalars from 0 outwards for as long as
the text holds and the score goes on moving.

The range, for one curve, in each direction from 0:

1. Walk outwards over the grid while the answers stay *coherent* (below), the KL divergence from the
   unsteered model is within `budget`, in nats per token, and the score does not fall back by more
   than `fall` points from the best so far. Past the first dose that fails, nothing is
   recommended, even if a later one happens to pass.
2. Of the doses walked, the end is the one nearest to 0 whose score is within `plateau` points of
   the best: what lies beyond it costs coherence and gains nothing.
3. If even that moves the score by less than `least_gain` points, the end is 0: the vector does not
   turn the trait that way. (Of a judge whose scale ends at "not at all", there is no way down.)

A dose is coherent when, compared with the unsteered answers,

- its perplexity for the unsteered model is at most `perplexity` times theirs, or that of answers
  which a system prompt asked to show the same pole, whichever is higher. A style that nobody asked
  for is surprising even when it is written perfectly; what the model writes when asked for it is
  the yardstick for how surprising it may be;
- at most `repetition` more of its text repeats itself, by the same yardstick;
- its mean length is within a factor of `length`;
- at most `unended` more of its answers run into the token limit, or one: of a few answers, one more
  is a larger share, and chance.

A budget that is not given is twice what asking for a pole in the system prompt costs, the dearer of
the two, where the judge's scale has no ends: its score may go on rising while the text frays. What
a system prompt changes leaves the text whole; steering that turns the trait as far costs about as
much, and twice leaves room for vectors that are not as good. With other judges there is none.

The blocks: a curve's *gain* is the score at the range's upper end less that at its lower end; its
*divergence* is the mean over the ends other than 0, in nats per token. Curves whose gain is at
least `near_best` of the largest compete, and the one with the most gain per nat wins. Gain comes
first because the ratio alone would prefer a block that hardly does anything at hardly any cost.
Scalars themselves are not compared: norms differ among blocks, and so does what a scalar adds.
A curve competes only if its score rises with the scalar (Spearman's correlation over the grid is
above 0) and the intervals of the scores at its range's ends are apart.

Points are hundredths of what lies between the trait's opposite and the trait. Where a judge's scale
has no such ends, these are the scores of the answers that system prompts ask for (`in_units`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from persona_research.evaluation.doses import Dose, DoseCurve
from persona_research.evaluation.estimates import spearman
from persona_research.judges.judge import JudgeError, Scale

ASKINGS = 2.0
"""How many times what asking costs the budget is, unless it is given."""

GRID_ENDS = "the grid ends"


@dataclass(frozen=True, slots=True)
class ChoiceRule:
    """The numbers of the rule, as the module describes them; `unit` is that of scores.

    `budget` is in nats per token; `None` is none, unless `in_units` makes it what asking costs.
    """

    perplexity: float = 2.0
    repetition: float = 0.1
    length: float = 2.0
    unended: float = 0.1
    fall: float = 5.0
    plateau: float = 2.0
    least_gain: float = 10.0
    near_best: float = 0.9
    budget: float | None = None
    unit: str = "points"


@dataclass(frozen=True, slots=True)
class Asked:
    """Answers of the unsteered model when a system prompt asks for a pole, None where not known."""

    trait: Dose | None = None
    opposite: Dose | None = None


@dataclass(frozen=True, slots=True)
class Range:
    """The recommended scalars of one curve: the lowest, at most 0, and the highest, at least 0."""

    low: float
    high: float
    why_low: str
    why_high: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A curve as the rule sees it.

    Attributes:
        gain: What the score moves by from the range's lower end to its upper.
        divergence: What that changes of the model: the mean at the ends, in nats per token.
    """

    blocks: tuple[int, ...]
    range: Range
    gain: float
    divergence: float
    spearman: float
    is_apart: bool = True
    """Whether the score rises, and its intervals at the range's ends do not overlap."""

    @property
    def gain_per_nat(self) -> float:
        """The gain for each nat per token; 0 where nothing is changed."""
        return self.gain / self.divergence if self.divergence else 0.0


@dataclass(frozen=True, slots=True)
class Choice:
    """What the rule chose; `None` when no curve turns the trait."""

    chosen: Candidate | None
    candidates: tuple[Candidate, ...]


def in_units(rule: ChoiceRule, scale: Scale, asked: Asked) -> ChoiceRule:
    """Returns the rule with its points turned into a judge's unit, and its budget into nats.

    Raises:
        JudgeError: The answers that system prompts ask for do not differ, so that there is no
            yardstick.
    """
    if scale.span is not None:
        return rule
    if asked.trait is None or asked.opposite is None:
        raise JudgeError("there is no answer that a system prompt asked for to compare with")
    span = asked.trait.score.value - asked.opposite.score.value
    if not span > 0:
        raise JudgeError(
            f"the answers that system prompts ask for have a {scale.name} of "
            f"{asked.trait.score.value:{scale.form}} for the trait and "
            f"{asked.opposite.score.value:{scale.form}} for its opposite: either this model does "
            "not follow these prompts, or the judge cannot tell: use other prompts or another judge"
        )
    point = span / 100
    asking = max(asked.trait.divergence.value, asked.opposite.divergence.value)
    return dataclasses.replace(
        rule,
        fall=rule.fall * point,
        plateau=rule.plateau * point,
        least_gain=rule.least_gain * point,
        unit=scale.unit,
        budget=ASKINGS * asking if rule.budget is None else rule.budget,
    )


def surprise_limit(unsteered: Dose, asked: Dose | None, rule: ChoiceRule) -> float:
    """The highest perplexity that is coherent."""
    yardstick = unsteered.perplexity.value
    if asked is not None:
        yardstick = max(yardstick, asked.perplexity.value)
    return rule.perplexity * yardstick


def repetition_limit(unsteered: Dose, asked: Dose | None, rule: ChoiceRule) -> float:
    """The highest share of repeated text that is coherent."""
    yardstick = unsteered.repetition.value
    if asked is not None:
        yardstick = max(yardstick, asked.repetition.value)
    return yardstick + rule.repetition


def incoherences(
    dose: Dose, unsteered: Dose, asked: Dose | None, rule: ChoiceRule
) -> tuple[str, ...]:
    """What about a dose's answers is beyond the rule's limits; empty when they are coherent."""
    length = dose.tokens.value / max(unsteered.tokens.value, 1.0)
    faults = {
        "perplexity": not dose.perplexity.value <= surprise_limit(unsteered, asked, rule),
        "repetition": dose.repetition.value > repetition_limit(unsteered, asked, rule),
        "length": not 1 / rule.length <= length <= rule.length,
        "unended answers": round((unsteered.ended - dose.ended) * dose.answers)
        > max(rule.unended * dose.answers, 1),
    }
    return tuple(name for name, is_beyond in faults.items() if is_beyond)


def recommend_range(curve: DoseCurve, asked: Asked, rule: ChoiceRule) -> Range:
    """The scalars to recommend for a curve."""
    rising = [dose for dose in curve.doses if dose.scalar > 0]
    falling = [dose for dose in reversed(curve.doses) if dose.scalar < 0]
    high, why_high = _end(rising, curve.unsteered, asked.trait, 1.0, rule)
    low, why_low = _end(falling, curve.unsteered, asked.opposite, -1.0, rule)
    return Range(low, high, why_low, why_high)


def _end(
    doses: Sequence[Dose], unsteered: Dose, asked: Dose | None, sign: float, rule: ChoiceRule
) -> tuple[float, str]:
    """The last scalar to recommend in one direction, and what keeps it from going further."""
    walked: list[tuple[float, float]] = [(0.0, 0.0)]
    reason = GRID_ENDS
    for dose in doses:
        gain = sign * (dose.score.value - unsteered.score.value)
        faults = incoherences(dose, unsteered, asked, rule)
        if faults:
            reason = f"{' and '.join(faults)} at {dose.scalar:+g}"
            break
        if rule.budget is not None and not dose.divergence.value <= rule.budget:
            reason = f"divergence above {rule.budget:.2g} nats per token at {dose.scalar:+g}"
            break
        if not gain >= max(gain for _, gain in walked) - rule.fall:
            reason = f"the score turns back at {dose.scalar:+g}"
            break
        walked.append((dose.scalar, gain))
    best = max(gain for _, gain in walked)
    if best < rule.least_gain:
        return 0.0, f"the score moves by less than {rule.least_gain:.3g} {rule.unit}; {reason}"
    end = next(scalar for scalar, gain in walked if gain >= best - rule.plateau)
    return end, reason if end == walked[-1][0] else "the score moves no further"


def as_candidate(curve: DoseCurve, asked: Asked, rule: ChoiceRule) -> Candidate:
    """A curve's range, and what the rule compares."""
    found = recommend_range(curve, asked, rule)
    ends = [curve.at(scalar) for scalar in (found.low, found.high) if scalar]
    rank = spearman(curve.scalars, [dose.score.value for dose in curve.doses])
    return Candidate(
        blocks=curve.blocks,
        range=found,
        gain=curve.at(found.high).score.value - curve.at(found.low).score.value,
        divergence=fmean(dose.divergence.value for dose in ends) if ends else 0.0,
        spearman=rank,
        is_apart=rank > 0 and curve.at(found.high).score.low > curve.at(found.low).score.high,
    )


def choose(curves: Sequence[DoseCurve], asked: Asked, rule: ChoiceRule) -> Choice:
    """Chooses among curves of one vector, each with blocks of its own."""
    candidates = tuple(as_candidate(curve, asked, rule) for curve in curves)
    turning = [each for each in candidates if each.is_apart and each.gain >= rule.least_gain]
    best = max((each.gain for each in turning), default=0.0)
    strong = [each for each in turning if each.gain >= rule.near_best * best]
    chosen = max(strong, key=lambda each: each.gain_per_nat, default=None)
    return Choice(chosen, candidates)

"""Taking turns: every contender once a round, so that what drifts on the machine meets them all."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.contenders.contender import Contender
from benchmarks.measurement import Measurement
from benchmarks.workload import Workload, random_prompts


@dataclass(frozen=True, slots=True)
class Sample:
    """One contender's run in one round.

    Attributes:
        round: The round, from 0.
    """

    contender: str
    round: int
    workload: Workload
    measurement: Measurement


@dataclass(frozen=True, slots=True)
class Skipped:
    """A contender left out because its turn would take too long.

    Attributes:
        seconds: About how long each of its turns would take for the prompts alone.
    """

    contender: str
    workload: Workload
    seconds: float


Say = Callable[[str], None]
"""Takes lines about the progress."""

_WARM_UP_ROUND = 0
_FIRST_ROUND = 1


def warm_up(
    contenders: Sequence[Contender], workload: Workload, patience: float
) -> tuple[list[Contender], list[Skipped]]:
    """Lets every contender serve one short request, and leaves out those that would take too long.

    Computing all prompts takes at most about as many times longer than computing one as there are
    prompts; where that alone exceeds the patience there is no point in beginning.

    Returns:
        Those to measure, and those left out.
    """
    one = Workload(1, workload.prompt_tokens, min(2, workload.new_tokens))
    stay: list[Contender] = []
    skipped = []
    for index, contender in enumerate(contenders):
        prompts = random_prompts(one, _WARM_UP_ROUND, index, workload.streams)
        measurement = contender.run(one, prompts)
        seconds = measurement.first_token_seconds * contender.requests_served(workload)
        if seconds > patience:
            skipped.append(Skipped(contender.name, workload, seconds))
        else:
            stay.append(contender)
    return stay, skipped


def interleave(
    contenders: Sequence[Contender], workload: Workload, rounds: int, say: Say
) -> list[Sample]:
    """Measures contenders in turn, each with prompts that were not used before.

    Each round begins with another contender: none always comes after the same one.
    """
    samples = []
    for round_ in range(rounds):
        shift = round_ % max(len(contenders), 1)
        order = [*range(shift, len(contenders)), *range(shift)]
        for index in order:
            contender = contenders[index]
            prompts = random_prompts(workload, _FIRST_ROUND + round_, index)
            measurement = contender.run(workload, prompts)
            samples.append(Sample(contender.name, round_, workload, measurement))
            say(
                f"round {round_ + 1} of {rounds}: {contender.name}, {workload.streams} x "
                f"{workload.prompt_tokens} tokens: {measurement.tokens_per_second:.1f} tokens/s"
            )
    return samples


def median_ratio(
    samples: Sequence[Sample],
    subject: str,
    reference: str,
    value: Callable[[Measurement], float | None],
) -> float | None:
    """Returns the median over the rounds of one contender's value divided by another's.

    Both of a ratio come from the same round, from neighbouring minutes.

    Args:
        samples: What was measured.
        subject: The contender whose value is divided.
        reference: The contender whose value divides.
        value: Which value; a round in which a contender has none does not count.

    Returns:
        The median, or `None` where no round has both values.
    """
    pairs = _pairs(samples, subject, reference, value)
    return statistics.median(ours / theirs for ours, theirs in pairs) if pairs else None


def median_difference(
    samples: Sequence[Sample],
    subject: str,
    reference: str,
    value: Callable[[Measurement], float | None],
) -> float | None:
    """Returns the median over the rounds of one contender's value less another's.

    Args:
        samples: What was measured.
        subject: The contender whose value is diminished.
        reference: The contender whose value is taken from it.
        value: Which value; a round in which a contender has none does not count.

    Returns:
        The median, or `None` where no round has both values.
    """
    pairs = _pairs(samples, subject, reference, value)
    return statistics.median(ours - theirs for ours, theirs in pairs) if pairs else None


def median_of(
    samples: Sequence[Sample], contender: str, value: Callable[[Measurement], float | None]
) -> float | None:
    """Returns the median over the rounds of a contender's value, or `None` where it has none."""
    values = list(_by_round(samples, contender, value).values())
    return statistics.median(values) if values else None


def _pairs(
    samples: Sequence[Sample],
    subject: str,
    reference: str,
    value: Callable[[Measurement], float | None],
) -> list[tuple[float, float]]:
    """Returns both contenders' values of each round in which both have one."""
    of_subject = _by_round(samples, subject, value)
    of_reference = _by_round(samples, reference, value)
    rounds = sorted(of_subject.keys() & of_reference.keys())
    return [(of_subject[round_], of_reference[round_]) for round_ in rounds]


def _by_round(
    samples: Sequence[Sample], contender: str, value: Callable[[Measurement], float | None]
) -> dict[int, float]:
    values = (
        (sample.round, value(sample.measurement))
        for sample in samples
        if sample.contender == contender
    )
    return {round_: number for round_, number in values if number is not None}

"""Taking turns: every contender once a round, so that what drifts on the machine meets them all."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.contenders.contender import Contender
from benchmarks.measurement import Measurement
from benchmarks.workload import Workload, random_prompts


@dataclass(frozen=True, slots=True)
class Sample:
    """One contender's run in one round; the first is 0."""

    contender: str
    round: int
    workload: Workload
    measurement: Measurement


@dataclass(frozen=True, slots=True)
class Skipped:
    """A contender left out since each turn's prompts alone would take about so many seconds."""

    contender: str
    workload: Workload
    seconds: float


Value = Callable[[Measurement], float | None]
"""Takes one of a measurement's values, which it may not have."""

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
    samples: Sequence[Sample], subject: str, reference: str, value: Value
) -> float | None:
    """Returns the median over the rounds of one contender's value divided by another's.

    Both of a ratio come from the same round, from neighbouring minutes. A round in which one of
    them has no value does not count; where none counts, it is `None`.
    """
    return _median(ours / theirs for ours, theirs in _pairs(samples, subject, reference, value))


def median_difference(
    samples: Sequence[Sample], subject: str, reference: str, value: Value
) -> float | None:
    """Returns the same as `median_ratio` of one contender's value less another's."""
    return _median(ours - theirs for ours, theirs in _pairs(samples, subject, reference, value))


def median_of(samples: Sequence[Sample], contender: str, value: Value) -> float | None:
    """Returns the median over the rounds of a contender's value, or `None` where it has none."""
    return _median(_by_round(samples, contender, value).values())


def _median(values: Iterable[float]) -> float | None:
    known = list(values)
    return statistics.median(known) if known else None


def _pairs(
    samples: Sequence[Sample], subject: str, reference: str, value: Value
) -> Iterator[tuple[float, float]]:
    """Yields both contenders' values of each round in which both have one."""
    ours, theirs = (_by_round(samples, name, value) for name in (subject, reference))
    return ((ours[round_], theirs[round_]) for round_ in ours.keys() & theirs.keys())


def _by_round(samples: Sequence[Sample], contender: str, value: Value) -> dict[int, float]:
    values = (
        (sample.round, value(sample.measurement))
        for sample in samples
        if sample.contender == contender
    )
    return {round_: number for round_, number in values if number is not None}

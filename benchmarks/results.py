"""What a scenario found: ratios first, what each contender delivered, and every raw sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.bars import Bar
from benchmarks.roofline import MachineRates, StepBound
from benchmarks.rounds import Sample, Skipped, Value, median_difference, median_of, median_ratio
from benchmarks.shapes import BenchmarkModel
from benchmarks.workload import Workload


@dataclass(frozen=True, slots=True)
class Ratio:
    """One contender's rates divided by another's.

    Attributes:
        end_to_end: The ratio of the rates from request to last token, or `None`.
        decode: The ratio of the rates while every stream generates, or `None`.
        bar: What one of the two should reach, or `None`.
        ceiling: What `end_to_end` would be if the subject were as fast as the machine allows, or
            `None` where that was not worked out.
    """

    workload: Workload
    subject: str
    reference: str
    end_to_end: float | None
    decode: float | None
    bar: Bar | None = None
    ceiling: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the bar is met; `None` where there is no bar or nothing to hold against it."""
        if self.bar is None:
            return None
        value = self.end_to_end if self.bar.rate == "tokens_per_second" else self.decode
        return None if value is None else value >= self.bar.least


@dataclass(frozen=True, slots=True)
class Delay:
    """How much later one contender's first tokens come than another's, the median of the rounds."""

    workload: Workload
    subject: str
    reference: str
    seconds: float | None
    most: float

    @property
    def met(self) -> bool | None:
        """Whether it stays below; `None` where nothing was measured."""
        return None if self.seconds is None else self.seconds <= self.most


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one contender delivered, the medians of the rounds; see `Measurement`."""

    workload: Workload
    contender: str
    tokens_per_second: float | None
    decode_tokens_per_second: float | None
    step_seconds: float | None
    first_token_seconds: float | None
    bound: StepBound

    @property
    def share_of_bound(self) -> float | None:
        """The bound's time of a step divided by the real one: 1 is as fast as could be."""
        return self.bound.seconds / self.step_seconds if self.step_seconds else None


@dataclass
class Result:
    """What one scenario found for one model."""

    scenario: str
    model: BenchmarkModel
    rates: MachineRates
    ratios: list[Ratio] = field(default_factory=list)
    delays: list[Delay] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def compare(
    samples: Sequence[Sample],
    workload: Workload,
    subject: str,
    reference: str,
    bar: Bar | None = None,
) -> Ratio:
    """Returns the ratio of two contenders from the samples of one workload."""
    return Ratio(
        workload,
        subject,
        reference,
        median_ratio(samples, subject, reference, lambda each: each.tokens_per_second),
        median_ratio(samples, subject, reference, lambda each: each.decode_tokens_per_second),
        bar,
    )


def delay(
    samples: Sequence[Sample], workload: Workload, subject: str, reference: str, most: float
) -> Delay:
    """Returns how much later one contender's first tokens come, from the samples of a workload."""
    seconds = median_difference(samples, subject, reference, lambda each: each.first_token_seconds)
    return Delay(workload, subject, reference, seconds, most)


def deliver(
    samples: Sequence[Sample], workload: Workload, contender: str, bound: StepBound
) -> Delivery:
    """Returns what a contender delivered from the samples of one workload."""

    def median(value: Value) -> float | None:
        return median_of(samples, contender, value)

    return Delivery(
        workload,
        contender,
        median(lambda each: each.tokens_per_second),
        median(lambda each: each.decode_tokens_per_second),
        median(lambda each: each.step_seconds),
        median(lambda each: each.first_token_seconds),
        bound,
    )

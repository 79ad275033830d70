"""Contenders take turns, with prompts that nobody has had before; ratios are of one round."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from benchmarks.measurement import Measurement
from benchmarks.rounds import (
    Sample,
    interleave,
    median_difference,
    median_of,
    median_ratio,
    warm_up,
)
from benchmarks.workload import Prompts, Workload, prompt_text, random_prompts, steering_of

WORKLOAD = Workload(streams=4, prompt_tokens=12, new_tokens=3)


@dataclass
class Recorder:
    """Notes what it was asked, and says what it was told to."""

    name: str
    first_token_seconds: float = 0.0
    log: list[str] = field(default_factory=list)
    seen: list[Prompts] = field(default_factory=list)

    def requests_served(self, workload: Workload) -> int:
        return workload.streams

    def run(self, workload: Workload, prompts: Prompts) -> Measurement:
        self.log.append(self.name)
        self.seen.append(prompts)
        return Measurement(1.0, None, None, self.first_token_seconds)


def test_each_round_begins_with_another_contender() -> None:
    log: list[str] = []
    contenders = [Recorder(name, log=log) for name in "abc"]
    samples = interleave(contenders, WORKLOAD, 3, lambda _: None)
    assert log == list("abc" + "bca" + "cab")
    assert [(sample.round, sample.contender) for sample in samples][:4] == [
        (0, "a"),
        (0, "b"),
        (0, "c"),
        (1, "b"),
    ]


def test_no_prompt_is_used_twice() -> None:
    contenders = [Recorder(name) for name in "ab"]
    warm_up(contenders, WORKLOAD, patience=60)
    interleave(contenders, WORKLOAD, 3, lambda _: None)
    prompts = [tuple(prompt) for each in contenders for prompts in each.seen for prompt in prompts]
    assert len(prompts) == 2 * (1 + 3 * 4)
    assert len(set(prompts)) == len(prompts)


def test_a_contender_that_would_take_too_long_is_left_out() -> None:
    quick, slow = Recorder("quick", 1.0), Recorder("slow", 3.0)
    stay, skipped = warm_up([quick, slow], WORKLOAD, patience=10.0)
    assert stay == [quick]
    assert [(each.contender, each.seconds) for each in skipped] == [("slow", 12.0)]


def samples(rates: dict[str, list[float | None]]) -> list[Sample]:
    return [
        Sample(name, round_, WORKLOAD, Measurement(1.0, rate, None, 0.0))
        for name, values in rates.items()
        for round_, rate in enumerate(values)
    ]


def decode(measurement: Measurement) -> float | None:
    return measurement.decode_tokens_per_second


def test_a_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    # The machine is half as fast in the second round, for both.
    measured = samples({"a": [20.0, 10.0, 22.0], "b": [10.0, 5.0, 10.0]})
    assert median_ratio(measured, "a", "b", decode) == pytest.approx(2.0)


def test_a_difference_is_the_median_of_the_rounds_own_differences() -> None:
    measured = samples({"a": [20.0, 10.0, 22.0, None], "b": [10.0, 5.0, 10.0, 1.0]})
    assert median_difference(measured, "a", "b", decode) == pytest.approx(10.0)
    assert median_difference(measured, "a", "c", decode) is None


def test_rounds_without_a_value_do_not_count() -> None:
    measured = samples({"a": [None, 30.0, 8.0], "b": [10.0, 10.0, None]})
    assert median_ratio(measured, "a", "b", decode) == pytest.approx(3.0)
    assert median_of(measured, "a", decode) == pytest.approx(19.0)


def test_there_is_no_ratio_to_a_contender_that_was_left_out() -> None:
    measured = samples({"a": [1.0]})
    assert median_ratio(measured, "a", "b", decode) is None
    assert median_of(measured, "b", decode) is None


def test_a_random_prompt_is_the_text_of_its_tokens() -> None:
    (prompt, *_) = random_prompts(WORKLOAD, 1)
    assert len(prompt) == WORKLOAD.prompt_tokens
    assert list(prompt_text(prompt).encode()) == prompt
    assert prompt_text(prompt).isalpha()


def test_mixed_steering_differs_from_stream_to_stream() -> None:
    assert len({steering_of("mixed", stream) for stream in range(64)}) == 64
    assert len({steering_of("uniformly", stream) for stream in range(64)}) == 1
    assert steering_of("not", 3) is None

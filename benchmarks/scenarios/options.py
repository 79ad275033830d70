"""What the command line can change about a scenario."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.contenders.contender import Contender
from benchmarks.results import Result, deliver
from benchmarks.roofline import step_bound
from benchmarks.rounds import Sample, Say, interleave, warm_up
from benchmarks.workload import Workload

CONTENDERS = ("alone", "static", "llama", "engine")


@dataclass(frozen=True, slots=True)
class ScenarioOptions:
    """How much to measure.

    Attributes:
        prompts: Lengths of prompts, in tokens.
        patience: The most seconds that the prompts of one turn may take.
        spread: Over how many seconds the requests come; only `paths` spreads them.
    """

    streams: tuple[int, ...]
    prompts: tuple[int, ...]
    new_tokens: int = 32
    rounds: int = 3
    threads: int = 1
    patience: float = 600.0
    spread: float = 0.0
    contenders: tuple[str, ...] = CONTENDERS
    say: Say = print
    device: str = "cpu"

    @property
    def workloads(self) -> list[Workload]:
        """Every combination of prompt length and number of streams."""
        return [
            Workload(streams, prompt, self.new_tokens, self.spread)
            for prompt in self.prompts
            for streams in self.streams
        ]


def run_rounds(
    contenders: Sequence[Contender], workload: Workload, options: ScenarioOptions, result: Result
) -> list[Sample]:
    """Warms up, measures one workload and keeps its samples in the result."""
    able, skipped = warm_up(contenders, workload, options.patience)
    samples = interleave(able, workload, options.rounds, options.say)
    result.skipped += skipped
    result.samples += samples
    return samples


def measured(
    contenders: Sequence[Contender], options: ScenarioOptions, result: Result
) -> Iterator[tuple[Workload, list[Sample]]]:
    """Measures every workload, and yields each once what was delivered is in the result."""
    for workload in options.workloads:
        samples = run_rounds(contenders, workload, options, result)
        bound = step_bound(result.model, result.rates, workload.streams)
        result.deliveries += [deliver(samples, workload, each.name, bound) for each in contenders]
        yield workload, samples

"""What steering costs in capability, from options to files."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from persona_research.at_once import map_at_once
from persona_research.capability.harness import read_harness
from persona_research.capability.output import capability_table, write_capability
from persona_research.capability.points import points_of
from persona_research.capability.task import CapabilityError, read_task
from persona_research.progress import progress_bar


@dataclass(frozen=True, slots=True)
class Choice:
    """A choice of a question's, to be scored under a trait."""

    trait: str
    question: str
    text: str


Score = Callable[[Choice, Sequence[float]], Sequence[float]]
"""Takes a choice and scalars to its log-likelihood after the question at each of them."""

_INTERVALS = "Intervals are 95% bootstrap intervals over questions."


@dataclass(frozen=True)
class CapabilityRun:
    """What to measure.

    Attributes:
        traits: The traits to steer, each alone.
        task: The task's file.
        scalars: How strongly; 0 is measured in any case.
        output: The folder for the report.
        limit: How many questions to ask; 0 is all.
        concurrency: How many choices to have scored at a time.
    """

    traits: Sequence[str]
    task: Path
    scalars: Sequence[float]
    output: Path
    limit: int = 0
    concurrency: int = 4


def run_capability(run: CapabilityRun, score: Score, say: Callable[[str], None]) -> Path:
    """Scores every choice of a task at every scalar, and writes the report; returns its path.

    Raises:
        Exception: What `score` raises, or one of `errors.USER_ERRORS`.
    """
    if len(set(run.traits)) < len(run.traits):
        raise CapabilityError("a trait is named twice: name each once")
    items = read_task(run.task)[: run.limit or None]
    scalars = sorted({0.0, *run.scalars})
    asked = [
        Choice(trait, item.question, text)
        for trait in run.traits
        for item in items
        for text in item.choices
    ]
    with progress_bar("choices", len(asked)) as show:
        done = count(1)

        def scored(choice: Choice, stopped: threading.Event) -> Sequence[float]:
            found = score(choice, scalars)
            show(next(done))
            return found

        results = iter(map_at_once(scored, asked, run.concurrency))
    points = []
    for trait in run.traits:
        table = [[next(results) for _ in item.choices] for item in items]
        scores = {
            scalar: [[choice[place] for choice in choices] for choices in table]
            for place, scalar in enumerate(scalars)
        }
        points += points_of(run.task.stem, trait, items, scores)
    say(capability_table(points))
    report = write_capability(points, run.output, _INTERVALS)
    say(f"report: {report}")
    return report


def run_harness(results: Path, output: Path, say: Callable[[str], None]) -> Path:
    """Writes the report of what lm-evaluation-harness measured; returns its path.

    Raises:
        CapabilityError: There is nothing to report.
    """
    points = read_harness(results)
    report = write_capability(
        points,
        output,
        "Measured by lm-evaluation-harness. Intervals are its means with 1.96 standard errors on "
        "each side.",
    )
    say(f"report: {report}")
    return report

"""What steering costs: tasks, what is made of likelihoods, and what is written."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from persona_research.capability.harness import read_harness
from persona_research.capability.output import capability_table
from persona_research.capability.points import points_of
from persona_research.capability.task import CapabilityError, Item, read_task
from persona_research.commands.capability import (
    CapabilityRun,
    Choice,
    run_capability,
    run_harness,
)

RIGHT = {"question": "Which?", "choices": ["a", "b"], "answer": 1}
ITEMS = [Item("Which?", ("a", "bbbb"), 1), Item("Who?", ("c", "d", "e"), 0)]


def test_a_task_is_a_line_for_each_question(tmp_path: Path) -> None:
    path = tmp_path / "task.jsonl"
    path.write_text(json.dumps({**RIGHT, "subject": "x"}) + "\n\n" + json.dumps(RIGHT))
    assert read_task(path) == [Item("Which?", ("a", "b"), 1)] * 2


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "no questions"),
        ("{", "line 1 is not valid JSON"),
        ("[" * 100_000, "line 1 is not valid JSON"),
        ("[]", "must be an object"),
        (json.dumps({**RIGHT, "question": " "}), "question must be"),
        (json.dumps({**RIGHT, "choices": "ab"}), "choices must be a list"),
        (json.dumps({**RIGHT, "choices": ["a", ""]}), "choices must be a list"),
        (json.dumps({**RIGHT, "choices": ["a", "a "]}), "different"),
        (json.dumps({**RIGHT, "choices": ["a"], "answer": 0}), "two"),
        (json.dumps({**RIGHT, "answer": 2}), "from 0 to 1"),
        (json.dumps({**RIGHT, "answer": True}), "from 0 to 1"),
        (json.dumps({**RIGHT, "answer": "b"}), "from 0 to 1"),
    ],
)
def test_a_task_that_cannot_be_used_says_where_and_why(
    tmp_path: Path, line: str, says: str
) -> None:
    path = tmp_path / "task.jsonl"
    path.write_text(line)
    with pytest.raises(CapabilityError, match=says):
        read_task(path)
    with pytest.raises(CapabilityError, match=r"cannot be read: No such file or directory$"):
        read_task(tmp_path / "none")
    path.write_bytes(b"caf\xe9")
    with pytest.raises(CapabilityError, match=r"cannot be read: it is not UTF-8, at byte 3$"):
        read_task(path)


def test_the_measures_of_likelihoods() -> None:
    scores = {
        # The second choice of the first question is likelier by length alone.
        0.0: [[-2.0, -3.0], [-1.0, -2.0, -2.0]],
        2.0: [[-3.0, -2.0], [-2.0, -1.0, -3.0]],
    }
    points = points_of("task", "sarcasm", ITEMS, scores)
    values = {(point.measure, point.scalar): point.estimate.value for point in points}
    assert values["accuracy", 0.0] == values["accuracy", 2.0] == 0.5
    assert (values["accuracy by length", 0.0], values["accuracy by length", 2.0]) == (1.0, 0.5)
    shares = [1 / (1 + math.e), 1 / (1 + 2 / math.e)]
    assert values["probability", 0.0] == pytest.approx(sum(shares) / 2)
    assert values["change", 0.0] == values["change", 2.0] == 0.0
    change = next(point for point in points if (point.measure, point.scalar) == ("change", 2.0))
    # One question was lost and one won: other questions could be all of either.
    assert (change.estimate.low, change.estimate.high) == (-1.0, 1.0)
    assert {(point.task, point.trait, point.items) for point in points} == {("task", "sarcasm", 2)}


def test_a_run_asks_for_every_choice_at_every_scalar_and_writes_all(tmp_path: Path) -> None:
    task = tmp_path / "task.jsonl"
    task.write_text("".join(json.dumps(RIGHT) + "\n" for _ in range(3)))
    asked: list[tuple[Choice, Sequence[float]]] = []

    def score(choice: Choice, scalars: Sequence[float]) -> list[float]:
        asked.append((choice, scalars))
        # Steered, the wrong one is likelier.
        return [-1.0 if (choice.text == "b") == (scalar == 0) else -2.0 for scalar in scalars]

    said: list[str] = []
    run = CapabilityRun(["x", "y"], task, [2.0, -2.0], tmp_path / "out", limit=2)
    report = run_capability(run, score, said.append)
    assert len(asked) == 2 * 2 * 2
    assert {tuple(scalars) for _, scalars in asked} == {(-2.0, 0.0, 2.0)}
    with (tmp_path / "out/capability.csv").open() as file:
        rows = list(csv.DictReader(file))
    accuracies = {
        (row["trait"], float(row["scalar"])): float(row["value"])
        for row in rows
        if row["measure"] == "accuracy"
    }
    assert accuracies == {
        (trait, scalar): float(scalar == 0) for trait in "xy" for scalar in (-2.0, 0.0, 2.0)
    }
    assert "| x | +2 | 2 | 0.00 [0.00, 0.00] |" in report.read_text()
    assert "| y | 0 | 2 | 1.00 [1.00, 1.00] |" in said[0]
    assert "capability.png" in report.read_text()


def results_of_lm_eval(folder: Path, model: str, accuracy: float, time: str = "1") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "results": {
            "arc_easy": {
                "alias": "arc_easy",
                "acc,none": accuracy,
                "acc_stderr,none": 0.05,
                "bleu,none": 3,
                "bleu_stderr,none": "N/A",
            }
        },
        "n-samples": {"arc_easy": {"original": 40, "effective": 30}},
        "model_name": model,
    }
    (folder / f"results_{time}.json").write_text(json.dumps(document))


def test_what_lm_eval_measured_becomes_points_over_scalars(tmp_path: Path) -> None:
    results_of_lm_eval(tmp_path / "0" / "persona", "persona", 0.1)
    results_of_lm_eval(tmp_path / "0" / "persona", "persona", 0.8, time="2")
    results_of_lm_eval(tmp_path / "a", "persona:sarcasm=-2", 0.5)
    results_of_lm_eval(tmp_path / "b", "persona:flattery=1.5", 0.6)
    points = read_harness(tmp_path)
    values = {
        (point.trait, point.scalar): point.estimate.value
        for point in points
        if point.measure == "acc"
    }
    assert values == {
        ("sarcasm", 0.0): 0.8,
        ("flattery", 0.0): 0.8,
        ("sarcasm", -2.0): 0.5,
        ("flattery", 1.5): 0.6,
    }
    steered = next(each for each in points if (each.trait, each.measure) == ("flattery", "acc"))
    assert steered.items == 30
    assert (steered.estimate.low, steered.estimate.high) == pytest.approx((0.502, 0.698))
    assert "| sarcasm | -2 | 30 | 0.50 [0.40, 0.60] | 3.00 [nan, nan] |" in capability_table(points)
    report = run_harness(tmp_path, tmp_path / "out", lambda _: None)
    assert "arc_easy" in report.read_text()


def test_results_that_say_nothing_about_steering_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CapabilityError, match="no results"):
        read_harness(tmp_path)
    results_of_lm_eval(tmp_path, "persona", 0.5)
    with pytest.raises(CapabilityError, match="persona:sarcasm=2"):
        read_harness(tmp_path)
    results_of_lm_eval(tmp_path, "persona:sarcasm=1,flattery=2", 0.5)
    with pytest.raises(CapabilityError, match="not steered by one trait"):
        read_harness(tmp_path)
    (tmp_path / "results_1.json").write_text('{"model_name": "persona:sarcasm=1"}')
    with pytest.raises(CapabilityError, match="not what lm_eval writes"):
        read_harness(tmp_path)
    (tmp_path / "results_0.json").write_bytes(b"caf\xe9")
    with pytest.raises(CapabilityError, match=r"cannot be read: it is not UTF-8, at byte 3$"):
        read_harness(tmp_path)

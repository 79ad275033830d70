"""What the client and its command make of calibrated readouts."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from persona_client.cli import output
from persona_client.comparisons import ComparedAnswer
from persona_client.readouts import CalibratedMean
from persona_client.results import Completion, Trait

BODY: dict[str, Any] = {
    "response": "Oh, wow.",
    "trait": "sarcasm",
    "scalar": 2.0,
    "tokens_generated": 4,
    "readouts": {"sarcasm": {"1": 30.97, "2": 4.0}, "bare": {"1": 0.5}},
    "calibrated_readouts": {
        "sarcasm": {
            "1": {"percentile": 99.96, "pole": 1.4},
            "2": {"percentile": 50.0, "pole": None},
        }
    },
}
ANSWER = {
    "index": 1,
    "success": True,
    "finish_reason": "stop",
    "prompt_tokens": 3,
    "reused_tokens": 0,
    "warnings": [],
    "error": None,
}


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_an_answer_has_percentiles_and_poles_by_block() -> None:
    found = Completion.from_json(BODY).calibrated_readouts
    assert found == {"sarcasm": {1: CalibratedMean(99.96, 1.4), 2: CalibratedMean(50, None)}}
    without = {name: value for name, value in BODY.items() if name != "calibrated_readouts"}
    assert Completion.from_json(without).calibrated_readouts == {}


def test_they_are_lines_below_what_was_read(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_details(Completion.from_json(BODY))
    assert lines(capsys.readouterr().out) == [
        [],
        ["monitored", "layer", "mean", "projection"],
        ["sarcasm", "1", "+30.97"],
        ["percentile", "100.0"],
        ["pole", "1.40"],
        ["sarcasm", "2", "+4.00"],
        ["percentile", "50.0"],
        ["pole"],
        ["bare", "1", "+0.50"],
    ]


def test_a_comparison_has_them_in_each_answer_s_column(capsys: pytest.CaptureFixture[str]) -> None:
    read = {name: BODY[name] for name in ("response", "tokens_generated", "readouts")}
    calibrated = {**read, "calibrated_readouts": BODY["calibrated_readouts"]}
    answers = [
        ComparedAnswer.from_json({**ANSWER, **body, "label": label, "steering": None})
        for label, body in (("a", calibrated), ("b", read))
    ]
    output.print_comparison(answers)
    assert lines(capsys.readouterr().out)[-7:-3] == [
        ["sarcasm", "1", "+30.97", "+30.97"],
        ["percentile", "100.0"],
        ["pole", "1.40"],
        ["sarcasm", "2", "+4.00", "+4.00"],
    ]


def test_the_table_of_traits_says_what_is_calibrated(capsys: pytest.CaptureFixture[str]) -> None:
    bare = Trait("bare", "m", (1,), 1)
    usable = dataclasses.replace(bare, name="sarcasm", calibration={"usable": True})
    foreign = dataclasses.replace(
        bare, name="irony", calibration={"usable": False, "reason": "it is another model's"}
    )
    output.print_traits({each.name: each for each in (bare, usable, foreign)})
    shown = lines(capsys.readouterr().out)
    assert shown[0][-1] == "calibrated"
    assert [(line[0], line[-1]) for line in shown[1:4]] == [
        ("bare", "no"),
        ("irony", "no"),
        ("sarcasm", "yes"),
    ]
    assert shown[4] == ["irony:", "it", "is", "another", "model's"]

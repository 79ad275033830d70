"""Comparisons and sweeps, as the client asks for them and reads their answers."""

from __future__ import annotations

from typing import Any

from persona_client import calls
from persona_client.comparisons import AnswerChunk, Comparison, SweptAnswer
from persona_client.steering import Steering
from tests.unit.client.event_text import feed


def answer(index: int, **more: Any) -> dict[str, Any]:
    return {
        "index": index,
        "success": True,
        "response": f"answer {index}",
        "tokens_generated": 2,
        "finish_reason": "stop",
        "prompt_tokens": 4,
        "reused_tokens": 0,
        "warnings": [],
        "error": None,
        **more,
    }


def compared(index: int, **traits: float) -> dict[str, Any]:
    named = [{"name": name, "scalar": scalar} for name, scalar in traits.items()]
    steering = {"traits": named, "layers": None, "positions": None} if traits else None
    return answer(index, label="a label", steering=steering)


def test_a_comparison_asks_for_its_steerings_and_leaves_out_what_is_not_given() -> None:
    steerings: list[Any] = [
        {"sarcasm": 2.0},
        Steering({"flattery": 1.0}, (1, 2), "response", "kind"),
    ]
    call = calls.comparison("hi", steerings, True, {"seed": 3})
    assert (call.path, call.body) == (
        "/api/v1/compare",
        {
            "prompt": "hi",
            "seed": 3,
            "steerings": [
                {"traits": [{"name": "sarcasm", "scalar": 2.0}]},
                {
                    "traits": [{"name": "flattery", "scalar": 1.0}],
                    "layers": [1, 2],
                    "positions": "response",
                    "label": "kind",
                },
            ],
        },
    )
    without = calls.comparison("hi", [{"sarcasm": 2.0}], False, {}).body
    assert without is not None
    assert without["baseline"] is False


def test_a_streamed_comparison_ends_as_the_one_that_is_not() -> None:
    baseline, steered = compared(0), compared(1, sarcasm=2.0, flattery=-1.0)
    whole = {"success": True, "seed": 7, "baseline": baseline, "answers": [steered]}
    reader = calls.comparison("hi", [{"sarcasm": 2.0}], True, {}).stream.reader()
    items = feed(
        reader,
        ("chunk", {"index": 1, "text": "a", "tokens_generated": 1}),
        ("answer", steered),
        ("answer", baseline),
        ("done", {"success": True, "seed": 7, "failed": 0}),
    )
    assert items[0] == AnswerChunk("a", 1, index=1)
    assert reader.whole == Comparison.from_json(whole)
    assert reader.whole.answers[0].traits == {"sarcasm": 2.0, "flattery": -1.0}
    assert [each.index for each in reader.whole.all_answers] == [0, 1]


def test_a_comparison_without_a_baseline_has_none() -> None:
    body = {"success": True, "seed": 7, "baseline": None, "answers": [compared(1, sarcasm=2.0)]}
    assert Comparison.from_json(body).baseline is None
    reader = calls.comparison("hi", [{"sarcasm": 2.0}], False, {}).stream.reader()
    done = {"success": True, "seed": 7, "failed": 0}
    feed(reader, ("answer", compared(1, sarcasm=2.0)), ("done", done))
    assert reader.whole == Comparison.from_json(body)


def test_a_sweep_s_answers_come_in_order_and_failed_ones_say_why() -> None:
    series = calls.of_series("sarcasm", (0, 1), None, None)
    call = calls.sweep("hi", series, True, {"positions": "response"}).stream
    assert call.body == {
        "prompt": "hi",
        "trait": "sarcasm",
        "scalars": [0, 1],
        "scores": True,
        "positions": "response",
        "stream": True,
    }
    reader = call.reader()
    failed = answer(1, scalar=1.0, score=None, success=False, error="it broke", code="internal")
    feed(
        reader,
        ("answer", failed),
        ("answer", answer(0, scalar=0.0, score=1.5)),
        ("done", {"success": False, "seed": 7, "failed": 1}),
    )
    first, second = reader.whole.answers
    assert (first.score, second.error, second.code) == (1.5, "it broke", "internal")
    assert isinstance(first, SweptAnswer)
    assert not reader.whole.success

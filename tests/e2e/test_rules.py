"""Operations, conditions and windows through Triton, on the demo model."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.triton_call import call

PROMPT = "How do I bake bread?"
PUSHED = {"traits": [{"name": "sarcasm", "scalar": 2.0}]}


def asked(address: str, steering: dict[str, Any]) -> dict[str, Any]:
    (answer,) = call(
        address,
        text_input=PROMPT,
        temperature=0.0,
        steering=json.dumps(steering),
        monitor="sarcasm",
        max_tokens=20,
        ignore_eos=True,
    )
    assert answer["error"] == ""
    return answer


def mean_of(answer: dict[str, Any]) -> float:
    (mean,) = json.loads(answer["readouts"])["sarcasm"].values()
    return float(mean)


def test_operations_bound_what_additions_have_pushed(address: str) -> None:
    plain, pushed = asked(address, {}), asked(address, PUSHED)
    assert mean_of(pushed) > mean_of(plain) + 1
    ablate = [{"trait": "sarcasm", "kind": "ablate"}]
    assert mean_of(asked(address, {**PUSHED, "operations": ablate})) == pytest.approx(0, abs=1e-3)
    for kind, value in (("cap", -1.0), ("floor", 99.0), ("pin", 7.0)):
        operation = {"trait": "sarcasm", "kind": kind, "value": value}
        answer = asked(address, {**PUSHED, "operations": [operation]})
        assert mean_of(answer) == pytest.approx(value, abs=1e-3)


def test_a_condition_lets_all_tokens_through_or_none_and_says_so(address: str) -> None:
    plain, pushed = asked(address, {}), asked(address, PUSHED)
    never = asked(address, {**PUSHED, "when": {"trait": "sarcasm", "above": 1e6}})
    always = asked(address, {**PUSHED, "when": {"trait": "sarcasm", "below": 1e6}})
    assert never["text_output"] == plain["text_output"] != pushed["text_output"]
    assert always["text_output"] == pushed["text_output"]
    for answer, met in ((never, 0), (always, 19)):
        assert json.loads(answer["report"])["condition"] == {"tokens": 19, "met": met}
    assert "condition" not in json.loads(plain["report"] or "{}")


def test_a_window_ends_what_it_steers(address: str) -> None:
    def answers(steering: dict[str, Any]) -> list[int]:
        traits = [{**PUSHED["traits"][0], "positions": "response"}]
        (answer,) = call(
            address,
            "steered_qwen",
            input_ids=[5, 6, 7, 8],
            temperature=0.0,
            max_tokens=12,
            ignore_eos=True,
            steering=json.dumps({"traits": traits, **steering}),
        )
        assert answer["error"] == ""
        ids: list[int] = answer["output_ids"]
        return ids

    everywhere, begun = answers({}), answers({"window": {"from": 0, "to": 4}})
    assert begun[:5] == everywhere[:5]
    assert begun != everywhere


@pytest.mark.parametrize(
    ("steering", "message"),
    [
        ({"operations": [{"trait": "x", "kind": "ablate"}]}, "unknown trait 'x'"),
        ({**PUSHED, "window": {"from": 19}}, "begins at generated token 19"),
    ],
)
def test_what_the_vectors_or_the_answer_rule_out_is_refused_by_name(
    address: str, steering: dict[str, Any], message: str
) -> None:
    (answer,) = call(address, text_input=PROMPT, max_tokens=20, steering=json.dumps(steering))
    assert message in answer["error"]
    assert answer["finish_reason"] == "error"

"""Judges score from 0 to 100, and what is not a score is none, never a number made up."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from persona_research.definitions import Cues, TraitDefinition
from persona_research.judges import JudgeError, RuleJudge
from persona_research.judges.choice import JudgeChoice, make_judge
from persona_research.judges.endpoint import OpenAIJudge
from persona_research.judges.rubric import judge_prompt, parse_score
from persona_research.judges.served import ModelJudge
from persona_research.model import Answer, AnswerRequest
from tests.unit.research.judge_endpoint import endpoint, judge_at, says

TRAIT = TraitDefinition(
    trait_name="warmth",
    description="Kindness.",
    positive_prompts=("a",),
    negative_prompts=("b",),
    evaluation_questions=("c",),
    cues=Cues((r"\bdear\b",), ("go away", "whatever")),
)


def rule_scores(*answers: str) -> list[float | None]:
    return RuleJudge().scores(TRAIT, ["q"] * len(answers), answers)


def test_the_rule_judge_counts_sentences() -> None:
    assert rule_scores(
        "My dear!",
        "Dear friend. It rains.",
        "Go away.\nWhatever. Yes. No.",
        "It rains.",
        "My dear, go away.",
    ) == [100.0, 75.0, 25.0, 50.0, 50.0]


def test_an_answer_without_a_sentence_has_no_score() -> None:
    assert rule_scores("", "  \n") == [None, None]


def test_a_long_sentence_is_searched_to_its_end() -> None:
    assert rule_scores("word " * 1000 + "my dear") == [100.0]
    assert rule_scores("x" * 195 + " dear " + "x" * 1000) == [100.0]


def test_no_cue_that_a_definition_may_have_takes_for_ever() -> None:
    slow = TraitDefinition("t", "", ("a",), ("b",), ("c",), cues=Cues(("a*a*b",), ("x.*y.*z",)))
    started = time.process_time()
    RuleJudge().scores(slow, ["q"], ["a" * 10_000 + "x" * 1_000 + "y" * 1_000])
    # Not a claim of speed: without a bound it would take days.
    assert time.process_time() - started < 60


def test_a_definition_without_cues_cannot_be_judged_by_rules() -> None:
    bare = TraitDefinition("t", "", ("a",), ("b",), ("c",))
    with pytest.raises(JudgeError, match="has no cues"):
        RuleJudge().scores(bare, ["q"], ["a"])


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("85", 85.0),
        (" 0 \n", 0.0),
        ("100.", 100.0),
        ("72.5", 72.5),
        ("**90**", 90.0),
        ("Score: 40", 40.0),
        ("The score is: 40 because it is mild", 40.0),
        ("85/100", 85.0),
        ("85 out of 100", 85.0),
        ("60%", 60.0),
        ("", None),
        ("REFUSAL", None),
        ("refusal: 0", None),
        ("101", None),
        ("-5", None),
        ("8/10", None),
        ("3 out of 10", None),
        ("1000000", None),
        ("I would say eighty", None),
        ("Between 0 and 100, it is 80", None),
        ("This is a brief summary of 5 things.", None),
    ],
)
def test_only_what_is_clearly_a_score_is_read_as_one(reply: str, score: float | None) -> None:
    assert parse_score(reply) == score


def test_the_question_and_the_answer_stand_in_the_prompt_as_they_are() -> None:
    prompt = judge_prompt(TRAIT, "What is {answer}?", r"{question} {x} \1 {{}}")
    assert "What is {answer}?" in prompt
    assert r"{question} {x} \1 {{}}" in prompt
    assert "Kindness." in prompt


def test_the_traits_own_rubric_takes_the_place_of_the_projects() -> None:
    own = TraitDefinition("t", "", ("a",), ("b",), ("c",), eval_prompt="Q {question} A {answer}.")
    assert judge_prompt(own, "one", "two") == "Q one A two."


class Replying:
    """A model that replies to each prompt with the words after "says" in it."""

    name = "tiny"
    identity = "tiny"
    context_length = 2_000

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        return list(messages[0]["content"].encode())

    def answers(self, requests: Sequence[AnswerRequest]) -> list[Answer]:
        texts = (bytes(request.prompt_ids).decode() for request in requests)
        replies = [re.findall("says (.*)", text)[-1] for text in texts]
        return [Answer([], [], reply, ended=True) for reply in replies]


def test_a_model_judges_and_what_does_not_fit_its_context_has_no_score() -> None:
    model: Any = Replying()
    answers = ["says 80", "says " + "x" * 2_000, "says nothing", "says Score: 20"]
    assert ModelJudge(model).scores(TRAIT, ["q"] * 4, answers) == [80.0, None, None, 20.0]


def test_an_endpoint_judges_each_answer_in_its_place() -> None:
    def reply(number: int, body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        content = body["messages"][0]["content"]
        if number in (1, 2):
            first_two.wait(60)
        return says(next(word for word in ("10", "20", "30", "REFUSAL") if f"<{word}>" in content))

    first_two = threading.Barrier(2)  # neither is answered before both are asked
    answers = ["<30>", "<10>", "<REFUSAL>", "<20>"] * 3
    with endpoint(reply) as server:
        scores = judge_at(server, concurrency=3).scores(TRAIT, ["q"] * 12, answers)
    assert scores == [30.0, 10.0, None, 20.0] * 3
    assert 1 < server.most_at_once <= 3
    assert server.keys == {"Bearer k3y"}
    assert server.requests[0]["model"] == "m"
    assert server.requests[0]["temperature"] == 0


def test_what_may_pass_is_tried_again() -> None:
    def reply(number: int, body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        failures = {1: 429, 2: 503}
        if number in failures:
            return failures[number], {"retry-after": "0.01"}, {"error": {"message": "busy"}}
        return says("70")

    with endpoint(reply) as server:
        assert judge_at(server).scores(TRAIT, ["q"], ["a"]) == [70.0]
    assert len(server.requests) == 3


def test_what_cannot_pass_is_an_error_at_once_and_does_not_show_the_key() -> None:
    def reply(number: int, body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        return 401, {}, {"error": {"message": "bad key"}}

    with endpoint(reply) as server:
        with pytest.raises(JudgeError, match="status 401: bad key") as raised:
            judge_at(server).scores(TRAIT, ["q"], ["a"])
        assert len(server.requests) == 1
    assert "k3y" not in str(raised.value)


def test_an_outage_is_an_error_and_not_a_lack_of_scores() -> None:
    with endpoint(lambda number, body: (500, {}, "broken")) as server:
        with pytest.raises(JudgeError, match="status 500"):
            judge_at(server, attempts=3).scores(TRAIT, ["q"], ["a"])
        assert len(server.requests) == 3
        url = server.url
    unreachable = OpenAIJudge("m", base_url=url, attempts=2, first_wait=0.01)
    with pytest.raises(JudgeError, match="cannot be reached"):
        unreachable.scores(TRAIT, ["q"], ["a"])


@pytest.mark.parametrize("body", [[], "<html>", {"id": 1}, {"choices": ["text"]}])
def test_an_answer_that_is_no_completion_is_an_error(body: Any) -> None:
    with (
        endpoint(lambda number, request: (200, {}, body)) as server,
        pytest.raises(JudgeError, match="not a chat completion"),
    ):
        judge_at(server).scores(TRAIT, ["q"], ["a"])


def test_a_reply_without_text_is_no_score() -> None:
    with endpoint(lambda number, body: says(None)) as server:
        assert judge_at(server).scores(TRAIT, ["q"], ["a"]) == [None]


def test_an_endpoint_needs_a_model_and_the_real_one_a_key() -> None:
    unused: Any = None
    with pytest.raises(JudgeError, match="--judge-model"):
        make_judge(JudgeChoice("openai"), unused, {})
    with pytest.raises(JudgeError, match="OPENAI_API_KEY"):
        make_judge(JudgeChoice("openai", "m"), unused, {})
    url = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    assert make_judge(JudgeChoice("openai", "m"), unused, url).name == "openai m"
    assert make_judge(JudgeChoice("rule"), unused, {}).name == "rule"

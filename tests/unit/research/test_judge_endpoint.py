"""Whatever an endpoint answers: a judge adapts, tries again, gives no score, or says why not."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
import threading
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import pytest

from persona_research.definitions import TraitDefinition
from persona_research.judges import JudgeError
from persona_research.judges.choice import JudgeChoice, make_judge
from persona_research.judges.endpoint import OpenAIJudge
from tests.unit.research.judge_endpoint import Reply, endpoint, judge_at, says

TRAIT = TraitDefinition("t", "d", ("a",), ("b",), ("c",))

Answered = tuple[int, dict[str, str], Any]


def scores(reply: Reply, *answers: str, **options: Any) -> tuple[list[float | None], list[Any]]:
    """Judges answers one at a time; returns the scores and the requests."""
    with endpoint(reply) as server:
        judge = judge_at(server, concurrency=1, **options)
        found = judge.scores(TRAIT, ["q"] * len(answers), answers)
        return found, server.requests


def refuses(message: str, **fields: Any) -> Answered:
    return 400, {}, {"error": {"message": message, **fields}}


def test_a_reasoning_model_is_asked_as_it_takes_it() -> None:
    def reply(number: int, body: dict[str, Any]) -> Answered:
        if "max_tokens" in body:
            return refuses(
                "Unsupported parameter: 'max_tokens' is not supported with this model. "
                "Use 'max_completion_tokens' instead.",
                param="max_tokens",
                code="unsupported_parameter",
            )
        if "temperature" in body:
            return refuses(
                "Unsupported value: 'temperature' does not support 0 with this model.",
                param="temperature",
                code="unsupported_value",
            )
        if "logprobs" in body:
            message = "You are not allowed to request logprobs from this model"
            return 403, {}, {"error": {"message": message}}
        return says("70")

    said: list[str] = []
    found, requests = scores(reply, "a", "b", say=said.append)
    assert found == [70.0, 70.0]
    assert len(requests) == 3 + 2  # each refusal once, not for every answer
    assert requests[-1]["max_completion_tokens"] >= 1000
    assert not {"max_tokens", "temperature", "logprobs", "top_logprobs"} & set(requests[-1])
    assert [line.partition(" is ")[2].partition(":")[0] for line in said] == [
        "asked with max_completion_tokens",
        "asked without a temperature",
        "scored by the numbers it replies with",
    ]


def test_an_endpoint_of_few_logprobs_is_asked_for_fewer() -> None:
    def reply(number: int, body: dict[str, Any]) -> Answered:
        if body["top_logprobs"] > 5:
            return 422, {}, {"detail": [{"loc": ["body", "top_logprobs"], "msg": "at most 5"}]}
        return says("70")

    found, requests = scores(reply, "a")
    assert (found, [each["top_logprobs"] for each in requests]) == ([70.0], [20, 5])


def test_a_model_that_thinks_before_it_replies_gets_room() -> None:
    def reply(number: int, body: dict[str, Any]) -> Answered:
        if body["max_tokens"] < 1000:
            return (
                200,
                {},
                {"choices": [{"message": {"content": None}, "finish_reason": "length"}]},
            )
        return says("<think>3 of 4</think>70")

    found, requests = scores(reply, "a", "b")
    assert (found, len(requests)) == ([70.0, 70.0], 3)


def test_a_reply_that_is_cut_even_with_room_has_no_score() -> None:
    cut = {"choices": [{"message": {"content": "Score: 8"}, "finish_reason": "length"}]}
    found, requests = scores(lambda number, body: (200, {}, cut), "a")
    assert (found, len(requests)) == ([None], 2)


FILTERED = [
    (400, {"error": {"message": "filtered", "code": "content_filter", "status": 400}}),
    (400, {"error": {"message": "x", "innererror": {"code": "ResponsibleAIPolicyViolation"}}}),
    (400, {"error": {"message": "your prompt was flagged", "code": "invalid_prompt"}}),
    (403, {"error": {"message": "Your input was flagged", "metadata": {"reasons": ["hate"]}}}),
    (400, {"error": {"message": "Content Exists Risk"}}),
    (400, {"error": {"message": "x", "code": "context_length_exceeded"}}),
    (413, "too large"),
    (200, {"choices": []}),
    (200, {"choices": [{"message": None, "finish_reason": "stop"}]}),
    (200, {"choices": [{"message": {"role": "assistant"}, "finish_reason": "content_filter"}]}),
    (200, {"choices": [{"message": {"content": None, "refusal": "I cannot."}}]}),
    (200, {"choices": [{"message": {"content": [{"type": "thinking", "thinking": "8"}]}}]}),
]


@pytest.mark.parametrize(("status", "body"), FILTERED)
def test_one_answer_that_is_refused_has_no_score_and_the_others_have(
    status: int, body: Any
) -> None:
    def reply(number: int, request: dict[str, Any]) -> Answered:
        is_bad = "BAD" in request["messages"][0]["content"]
        return (status, {}, body) if is_bad else says("70")

    found, requests = scores(reply, "good", "BAD", "good")
    assert (found, len(requests)) == ([70.0, None, 70.0], 3)


PERMANENT = [
    (401, {"error": {"message": "bad key"}}, "status 401: bad key: check the key"),
    (402, {"error": {"message": "no credit"}}, "status 402: no credit"),
    (404, {"error": "model 'm' not found"}, "status 404: model 'm' not found: check --judge-model"),
    (400, {"error": {"message": "no such thing"}}, "status 400: no such thing"),
    (429, {"error": {"message": "Pay", "code": "insufficient_quota"}}, "status 429: Pay"),
    (501, b"<html><title>No</title><style>p {}</style><p>Sorry</p></html>", "status 501: No Sorry"),
]


@pytest.mark.parametrize(("status", "body", "message"), PERMANENT)
def test_what_cannot_succeed_is_said_and_not_tried_again(
    status: int, body: Any, message: str
) -> None:
    with endpoint(lambda number, request: (status, {}, body)) as server:
        with pytest.raises(JudgeError, match=message):
            judge_at(server, concurrency=1).scores(TRAIT, ["q"], ["a"])
        assert len(server.requests) == 1


def test_a_page_in_place_of_a_completion_is_an_error_that_says_what_came() -> None:
    page = b"<html><title>Sign in</title></html>"
    with (
        endpoint(lambda number, body: (200, {"content-type": "text/html"}, page)) as server,
        pytest.raises(JudgeError, match=r"not a chat completion \(content type text/html\): Sign"),
    ):
        judge_at(server).scores(TRAIT, ["q"], ["a"])


def test_a_redirect_is_not_followed_but_named() -> None:
    there = {"location": "https://elsewhere.example/v1/chat/completions"}
    with (
        endpoint(lambda number, body: (308, there, b"")) as server,
        pytest.raises(JudgeError, match=r"status 308: it is now at https://elsewhere.example/v1$"),
    ):
        judge_at(server).scores(TRAIT, ["q"], ["a"])


def in_a_moment() -> str:
    return format_datetime(datetime.now(timezone.utc) + timedelta(seconds=1), usegmt=True)


PASSING: list[tuple[int, dict[str, str], Any]] = [
    (429, {"retry-after": "0.01"}, {"error": {"message": "slow down"}}),
    (429, {"retry-after": in_a_moment()}, b""),
    (429, {"retry-after": "soon"}, b""),
    (502, {"content-type": "text/html"}, b"<html>Bad gateway</html>"),
    (529, {}, {"error": {"message": "overloaded"}}),
    (200, {}, {"error": {"message": "upstream failed", "code": 503}}),
    (200, {"content-encoding": "gzip"}, b"no gzip"),
]


@pytest.mark.parametrize("answer", PASSING)
def test_what_may_pass_is_tried_again(answer: Answered) -> None:
    found, requests = scores(lambda number, body: answer if number == 1 else says("70"), "a")
    assert (found, len(requests)) == ([70.0], 2)


def test_a_wait_for_longer_than_anyone_sits_there_is_an_error() -> None:
    with endpoint(lambda number, body: (429, {"retry-after": "86400"}, b"")) as server:
        with pytest.raises(JudgeError, match="asks to come back in 86400 s"):
            judge_at(server).scores(TRAIT, ["q"], ["a"])
        assert len(server.requests) == 1


def test_packed_and_chunked_answers_are_read() -> None:
    packed = gzip.compress(json.dumps(says("70")[2]).encode())
    half = len(packed) // 2
    parts = (packed[:half], packed[half:], b"")
    chunked = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    headers = {"content-encoding": "gzip", "transfer-encoding": "chunked"}
    assert scores(lambda number, body: (200, headers, chunked), "a")[0] == [70.0]


def test_text_in_parts_is_read() -> None:
    parts = [{"type": "thinking", "thinking": "3"}, {"type": "text", "text": "70"}]
    answer: Answered = (200, {}, {"choices": [{"message": {"content": parts}}]})
    assert scores(lambda number, body: answer, "a")[0] == [70.0]


@pytest.mark.parametrize("key", ["k3y\r", "k3y\n", " k3y", "k3y kay", "k\u00e9y"])
def test_a_key_that_cannot_be_one_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(JudgeError, match="OPENAI_API_KEY cannot be one") as raised:
        OpenAIJudge("m", base_url="http://127.0.0.1:9/v1", api_key=key)
    assert key.strip() not in str(raised.value)


def test_a_key_of_the_environment_is_stripped_and_never_shown() -> None:
    def reply(number: int, body: dict[str, Any]) -> Answered:
        return 401, {}, {"error": {"message": "wrong key: s3cret"}}

    unused: Any = None
    with endpoint(reply) as server:
        environment = {"OPENAI_API_KEY": "s3cret\r\n", "OPENAI_BASE_URL": f"{server.url}\r\n"}
        judge = make_judge(JudgeChoice("openai", "m"), unused, environment)
        with pytest.raises(JudgeError) as raised:
            judge.scores(TRAIT, ["q"], ["a"])
    assert server.keys == {"Bearer s3cret"}
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("url", ["localhost:8000/v1", "ftp://host/v1", "http://", "http://[::1/v1"])
def test_an_address_that_cannot_be_one_is_refused(url: str) -> None:
    with pytest.raises(JudgeError, match="--judge-url"):
        OpenAIJudge("m", base_url=url)


def test_the_address_may_be_that_of_the_completions_and_its_password_is_not_shown() -> None:
    with endpoint(lambda number, body: says("70")) as server:
        judge = OpenAIJudge("m", base_url=f"{server.url}/chat/completions/")
        assert judge.scores(TRAIT, ["q"], ["a"]) == [70.0]
        url = server.url.replace("://", "://user:s3cret@")
    judge = OpenAIJudge("m", base_url=url, attempts=1)
    with pytest.raises(JudgeError, match="cannot be reached") as raised:
        judge.scores(TRAIT, ["q"], ["a"])
    assert "s3cret" not in str(raised.value)


def test_the_endpoint_is_tried_once_before_there_are_answers() -> None:
    with endpoint(lambda number, body: says("70")) as server:
        judge = judge_at(server)
        assert [judge.scores(TRAIT, [], []) for _ in range(2)] == [[], []]
    assert len(server.requests) == 1


def test_a_failure_ends_the_run_while_others_still_wait_for_their_answers() -> None:
    asked, failed = threading.Event(), threading.Event()

    def reply(number: int, body: dict[str, Any]) -> Answered:
        if "SLOW" in body["messages"][0]["content"]:
            asked.set()
            failed.wait(60)
            return says("70")
        asked.wait(60)
        return 401, {}, {"error": {"message": "bad key"}}

    with endpoint(reply) as server:
        with pytest.raises(JudgeError, match="bad key"):
            judge_at(server, concurrency=2).scores(TRAIT, ["q"] * 2, ["SLOW", "a"])
        assert not failed.is_set()  # it has not been waited for
        failed.set()


def test_ctrl_c_does_not_wait_for_answers() -> None:
    asked, stopped = threading.Event(), threading.Event()

    def reply(number: int, body: dict[str, Any]) -> Answered:
        asked.set()
        stopped.wait(60)
        return says("70")

    with endpoint(reply) as server:
        program = (
            "from persona_research.judges.endpoint import OpenAIJudge\n"
            "from persona_research.definitions import TraitDefinition\n"
            "trait = TraitDefinition('t', 'd', ('a',), ('b',), ('c',))\n"
            f"OpenAIJudge('m', base_url='{server.url}').scores(trait, ['q'] * 20, ['a'] * 20)\n"
        )
        process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE)
        assert asked.wait(60)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=50)
        stopped.set()
    assert err.endswith(b"KeyboardInterrupt\n")

"""What an answer is: as it should be, a proper refusal or failure, or none of these."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from benchmarks.soak.wire import Reply

STACK_TRACES = ("Traceback (most recent call last)", '  File "')
"""What no user may see."""


class Outcome(Enum):
    """How a request ended."""

    ANSWERED = "answered"
    REFUSED = "refused"
    BUSY = "too busy"
    FAILED = "failed"
    CUT = "cut by us"
    LOST = "lost"


class AnswerKind(Enum):
    """What an answer looks like."""

    GENERATED = "one answer"
    COMPARED = "several answers"
    CHAT = "a chat completion"
    COMPLETION = "a completion"
    ANYTHING = "anything"


@dataclass(frozen=True, slots=True)
class Expected:
    """What a request may be answered with.

    Attributes:
        statuses: The statuses that are right, besides those of a server that is busy or away.
        malformed: Whether the request is no HTTP, which the server below the gateway refuses in
            plain text, or by closing the connection.
    """

    kind: AnswerKind = AnswerKind.ANYTHING
    streamed: bool = False
    statuses: frozenset[int] = frozenset({200})
    malformed: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer is, with the generated text of a success."""

    outcome: Outcome
    detail: str = ""
    text: str = ""


class WrongAnswerError(Exception):
    """A success does not look as it should."""


class BrokenAnswerError(Exception):
    """An answer began well and ended with an error."""


def judge(reply: Reply, expected: Expected, request_id: str) -> Verdict:
    """Returns what an answer is."""
    if not reply.status:
        if expected.malformed:
            return Verdict(Outcome.REFUSED, "closed")
        return Verdict(Outcome.LOST, "the connection was closed without an answer")
    if any(words in reply.text for words in STACK_TRACES):
        return Verdict(Outcome.LOST, f"{reply.status} with a stack trace")
    if not reply.whole:
        return Verdict(Outcome.LOST, f"{reply.status}, cut short: ...{reply.text[-200:]!r}")
    if reply.status >= 400:
        return _judge_error(reply, expected, request_id)
    if reply.status not in expected.statuses:
        return Verdict(Outcome.LOST, f"{reply.status}, which is none of {set(expected.statuses)}")
    try:
        text = (_STREAMED if expected.streamed else _WHOLE)[expected.kind](reply)
    except BrokenAnswerError as error:
        return Verdict(Outcome.FAILED, str(error))
    except (WrongAnswerError, LookupError, TypeError, ValueError) as error:
        return Verdict(Outcome.LOST, f"{error!r} in {reply.text[-300:]!r}")
    return Verdict(Outcome.ANSWERED, text=text)


def events(text: str) -> list[tuple[str, str]]:
    """Returns the names and the data of a stream's events, comments left out."""
    found = []
    for block in text.split("\n\n"):
        fields = [line.partition(": ") for line in block.split("\n") if line]
        named = {name: value for name, _, value in fields}
        if "data" in named:
            found.append((named.get("event", ""), named["data"]))
    return found


def _judge_error(reply: Reply, expected: Expected, request_id: str) -> Verdict:
    code = error_code(reply, request_id)
    if code is None:
        if expected.malformed and reply.status < 500:
            return Verdict(Outcome.REFUSED, str(reply.status))
        return Verdict(Outcome.LOST, f"a bare {reply.status}: {reply.text[:300]!r}")
    detail = f"{reply.status} {code}"
    if reply.status in expected.statuses:
        return Verdict(Outcome.REFUSED, detail)
    away = reply.status == 503 and code == "deadline_exceeded"
    if (reply.status == 429 or away) and "retry-after" in reply.headers:
        return Verdict(Outcome.BUSY, detail)
    if reply.status >= 500:
        return Verdict(Outcome.FAILED, detail)
    return Verdict(Outcome.LOST, f"an unexpected {detail}: {reply.text[:300]!r}")


def error_code(reply: Reply, request_id: str) -> str | None:
    """Returns the code of a proper error, or `None` if it is not one of either shape."""
    body = reply.json()
    if not isinstance(body, dict):
        return None
    message, code, named = body.get("error"), body.get("code"), body.get("request_id")
    if isinstance(message, dict):
        code, named = message.get("code"), reply.headers.get("x-request-id")
        message = message.get("message")
    proper = isinstance(message, str) and message and isinstance(code, str)
    # Ids that could upset a log are replaced.
    return code if proper and (named == request_id or not request_id) else None


def _check(holds: bool, what: str) -> None:
    if not holds:
        raise WrongAnswerError(what)


def _generated(reply: Reply) -> str:
    body = reply.json()
    _check(body["success"] is True and body["tokens_generated"] >= 1, "no success")
    return str(body["response"])


def _compared(reply: Reply) -> str:
    body = reply.json()
    answers = [*([body["baseline"]] if body.get("baseline") else []), *body["answers"]]
    _all_succeeded(answers)
    _check(body["success"] is True, "no success")
    return "\n".join(str(answer["response"]) for answer in answers)


def _all_succeeded(answers: Sequence[Mapping[str, Any]]) -> None:
    failed = [answer for answer in answers if not answer["success"]]
    if failed:
        raise BrokenAnswerError(f"{len(failed)} answers failed: {failed[0]['error']}")
    _check(bool(answers), "no answers")


def _completed(reply: Reply) -> str:
    body = reply.json()
    _check(bool(body["choices"]) and body["usage"]["completion_tokens"] >= 1, "no choices")
    return "\n".join(
        str(choice["message"]["content"] if "message" in choice else choice["text"])
        for choice in body["choices"]
    )


def _stream_of_one(reply: Reply) -> str:
    pieces, end = _until_done(reply)
    text = "".join(piece["text"] for name, piece in pieces if name == "chunk")
    _check(end["response"] == text, "the pieces are not the answer")
    return text


def _stream_of_several(reply: Reply) -> str:
    pieces, end = _until_done(reply)
    answers = [piece for name, piece in pieces if name == "answer"]
    _all_succeeded(answers)
    _check(end["failed"] == 0, "failures without an answer")
    for answer in answers:
        mine = [p["text"] for n, p in pieces if n == "chunk" and p["index"] == answer["index"]]
        _check("".join(mine) == answer["response"], "the pieces are not the answer")
    return "\n".join(a["response"] for a in sorted(answers, key=lambda each: each["index"]))


def _until_done(reply: Reply) -> tuple[list[tuple[str, Any]], Any]:
    found = [(name, json.loads(data)) for name, data in events(reply.text)]
    _check(bool(found), "no events")
    name, last = found[-1]
    if name == "error":
        raise BrokenAnswerError(f"error event {last['code']}: {last['error']}")
    _check(name == "done", "the stream ended without `done` or `error`")
    return found[:-1], last


def _openai_stream(reply: Reply) -> str:
    found = [data for _, data in events(reply.text)]
    _check(bool(found), "no events")
    if found[-1] != "[DONE]":
        last = json.loads(found[-1])
        _check("error" in last, "the stream ended without [DONE] or an error")
        raise BrokenAnswerError(f"error event {last['error']['code']}")
    texts: dict[int, str] = {}
    for data in found[:-1]:
        for choice in json.loads(data)["choices"]:
            new = choice["delta"].get("content", "") if "delta" in choice else choice["text"]
            texts[choice["index"]] = texts.get(choice["index"], "") + (new or "")
    _check(bool(texts), "no choices")
    return "\n".join(text for _, text in sorted(texts.items()))


_WHOLE: Mapping[AnswerKind, Callable[[Reply], str]] = {
    AnswerKind.GENERATED: _generated,
    AnswerKind.COMPARED: _compared,
    AnswerKind.CHAT: _completed,
    AnswerKind.COMPLETION: _completed,
    AnswerKind.ANYTHING: lambda _: "",
}
_STREAMED: Mapping[AnswerKind, Callable[[Reply], str]] = {
    AnswerKind.GENERATED: _stream_of_one,
    AnswerKind.COMPARED: _stream_of_several,
    AnswerKind.CHAT: _openai_stream,
    AnswerKind.COMPLETION: _openai_stream,
    AnswerKind.ANYTHING: lambda _: "",
}

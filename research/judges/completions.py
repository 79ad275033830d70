"""What an endpoint answers, in all the ways that OpenAI-compatible endpoints do."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from persona_research.judges.judge import JudgeError

_TRANSIENT = frozenset((408, 409, 425, 429))
_PERMANENT = frozenset((501, 505))
_REFUSALS = frozenset((400, 403, 404, 413, 422, 451))
"""What is answered to a request that is not taken as it is."""

_SPENT = re.compile(r"insufficient_quota|billing|exceeded your current quota", re.IGNORECASE)
_UNSCORED = re.compile(
    r"content.?(?:filter|policy|management)|responsibleai|invalid_prompt|data_inspection|flagged|"
    r"moderation|content exists risk|prohibited.content|usage polic|"
    r"context.?(?:length|size|window)|string_above_max_length|maximum context|too long",
    re.IGNORECASE,
)
"""What one answer of many is refused for: what it says, or its length."""

_MESSAGE_CHARS = 300
_READ_CHARS = 3_000


@dataclass(frozen=True)
class JudgeCompletion:
    """A reply to a prompt.

    Attributes:
        text: What the model said, "" if nothing.
        ended: Whether that is all, rather than cut off by the limit on tokens.
        tokens: Its tokens with their log probabilities, if the endpoint gives them.
    """

    text: str
    ended: bool
    tokens: Sequence[Any] = ()


@dataclass(frozen=True)
class JudgeFailure:
    """An answer that is no completion.

    Attributes:
        status: The HTTP status, or the one that the body has in its place.
        message: What the endpoint says, on one line.
        details: All that the endpoint says, message and codes.
        wait: The seconds after which the endpoint asks to try again, 0 if it does not.
    """

    status: int
    message: str
    details: str
    wait: float = 0.0

    @property
    def is_transient(self) -> bool:
        """Whether the same request may succeed later."""
        if _SPENT.search(self.details):
            return False
        return self.status in _TRANSIENT or (self.status >= 500 and self.status not in _PERMANENT)

    @property
    def is_refusal(self) -> bool:
        """Whether the request was not taken as it is: another one may be."""
        return self.status in _REFUSALS

    @property
    def is_of_this_answer(self) -> bool:
        """Whether it is about the text of one answer: others may be judged."""
        return self.status == 413 or (
            self.is_refusal and _UNSCORED.search(self.details) is not None
        )


def read_completion(response: httpx.Response) -> JudgeCompletion | JudgeFailure:
    """Reads an answer of `/chat/completions`.

    Raises:
        JudgeError: It succeeds, but is not a chat completion.
    """
    body = _body(response)
    if response.status_code != httpx.codes.OK:
        return _failure(response, body, response.status_code)
    if isinstance(body, Mapping) and body.get("error"):
        # Gateways that have answered already report what happens then in the body.
        code = _error(body).get("code")
        return _failure(response, body, code if isinstance(code, int) and code >= 400 else 502)
    choices = body.get("choices") if isinstance(body, Mapping) else None
    if not isinstance(choices, list) or (choices and not isinstance(choices[0], Mapping)):
        kind = response.headers.get("content-type", "none").partition(";")[0]
        raise JudgeError(
            f"the judge's answer is not a chat completion (content type {kind[:60]}): "
            f"{_on_one_line(response.text) or 'it is empty'}"
        )
    choice = choices[0] if choices else {}
    message = choice.get("message")
    logprobs = choice.get("logprobs")
    tokens = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    return JudgeCompletion(
        _text(message.get("content") if isinstance(message, Mapping) else None),
        choice.get("finish_reason") != "length",
        tokens if isinstance(tokens, list) else (),
    )


def _body(response: httpx.Response) -> Any:
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return None
    return body[0] if isinstance(body, list) and len(body) == 1 else body


def _text(content: Any) -> str:
    """A message's text, which some models give in parts, what they thought among them."""
    if isinstance(content, list):
        parts = [each for each in content if isinstance(each, Mapping)]
        return "".join(_text(each.get("text")) for each in parts if each.get("type") == "text")
    return content if isinstance(content, str) else ""


def _error(body: Mapping[str, Any]) -> Mapping[str, Any]:
    error = body.get("error")
    return error if isinstance(error, Mapping) else {}


def _failure(response: httpx.Response, body: Any, status: int) -> JudgeFailure:
    text = response.text[:_READ_CHARS]
    message: Any = None
    if isinstance(body, Mapping):
        message = _error(body).get("message") or body.get("error") or body.get("message")
        message = message or body.get("detail")
    said = _on_one_line(str(message or text))
    if response.is_redirect:
        address = response.headers.get("location", "")
        said = f"it is now at {address.partition('/chat/completions')[0][:_MESSAGE_CHARS]}"
    return JudgeFailure(status, said, text, _asked_wait(response.headers))


def _on_one_line(text: str) -> str:
    """A message, or what a page of a proxy says, on one line without its markup."""
    page = re.sub(r"(?is)<(style|script)\b.*?</\1>", " ", text[:_READ_CHARS])
    return " ".join(re.sub(r"<[^<>]*>", " ", page).split())[:_MESSAGE_CHARS]


def _asked_wait(headers: Mapping[str, str]) -> float:
    """The seconds that `Retry-After` asks for, as a number or as a date; 0 if it names none."""
    asked = headers.get("retry-after", "")
    try:
        seconds = float(asked)
    except ValueError:
        try:
            moment = parsedate_to_datetime(asked).astimezone(timezone.utc)
            seconds = (moment - datetime.now(timezone.utc)).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return 0.0
    return seconds if seconds > 0 else 0.0  # NaN is not

"""The gateway's protocol, without any input or output: what is sent, how answers are read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict, TypeVar

import httpx

from persona_client.errors import (
    ConnectionFailedError,
    NotAllowedError,
    PersonaError,
    ServerError,
    error_of_status,
)
from persona_client.steering import Positions, ScalarUnit, Steering
from persona_client.vectors import Vectors

T = TypeVar("T")

MALFORMED = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""What reading JSON raises that is none, or that says something else than was expected."""

DEFAULT_URL = "http://localhost:8000"
CONNECT_TIMEOUT = 5.0
# The gateway has deadlines of its own; this one only ends waiting for a gateway that hangs.
READ_TIMEOUT = 330.0
RETRIES = 2

API_KEY_VARIABLE = "PERSONA_API_KEY"
"""Where the API key comes from if the program does not give it."""

_UNAUTHENTICATED = 401


class Sampling(TypedDict, total=False):
    """What a generation may be told besides its prompt; see the gateway's `/docs`.

    `vectors` are traits of its own: by name, for each decoder block an array of numbers.
    """

    messages: list[dict[str, str]]
    system_prompt: str
    raw: bool
    parse_special: bool
    add_generation_prompt: bool
    continue_final_message: bool
    max_tokens: int
    min_tokens: int
    ignore_eos: bool
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    repetition_penalty: float
    frequency_penalty: float
    presence_penalty: float
    logit_bias: dict[str, float]
    seed: int
    stop: str | list[str]
    logprobs: int
    prompt_logprobs: int
    monitor: list[str]
    monitor_layers: list[int]
    vectors: Vectors
    monitor_tokens: bool
    format: dict[str, Any]


class Options(Sampling, total=False):
    """What a steered generation may be told besides its prompt, a trait and a scalar.

    `layers`, `positions` and `unit` are those of that trait. What `steering` says is added to it.
    """

    layers: list[int]
    positions: Positions
    unit: ScalarUnit
    steering: Steering | Mapping[str, float]


def key_headers(api_key: str | None) -> dict[str, str]:
    """Returns the headers that say who makes a call; the key is the environment's if `None`.

    Raises:
        NotAllowedError: It is no key.
    """
    key = os.environ.get(API_KEY_VARIABLE, "") if api_key is None else api_key
    if not key.isascii():
        raise NotAllowedError(f"a key has ASCII characters only: check {API_KEY_VARIABLE}")
    return {"Authorization": f"Bearer {key.strip()}"} if key.strip() else {}


def timeouts(seconds: float) -> httpx.Timeout:
    """Returns how long to wait for a connection, and `seconds` for a response or more of it."""
    return httpx.Timeout(seconds, connect=min(seconds, CONNECT_TIMEOUT))


def check(response: httpx.Response) -> None:
    """Makes sure that a call whose answer has no body has succeeded.

    Raises:
        PersonaError: It has not.
    """
    if not response.is_success:
        raise read_error(response.status_code, response.headers, response.content)


def read_body(response: httpx.Response, read: Callable[[Mapping[str, Any]], T]) -> T:
    """Returns what a response that has been received whole says.

    Raises:
        PersonaError: It is not a success, or not the gateway's.
    """
    check(response)
    try:
        return read(json.loads(response.content))
    except MALFORMED as error:
        raise ServerError(
            f"{response.url} does not answer like a Persona gateway: is the address right?"
        ) from error


def read_error(status: int, headers: Mapping[str, str], content: bytes) -> PersonaError:
    """Makes an error of a response that is not a success, whoever sent it."""
    try:
        body = json.loads(content)
        message, code = str(body["error"]), str(body.get("code", ""))
    except MALFORMED:
        message, code = f"the server answered with status {status}", ""
    if status == _UNAUTHENTICATED:
        message += f" (the client's is api_key, or {API_KEY_VARIABLE} of the environment)"
    return error_of_status(status, message, code, headers.get("Retry-After"))


def connection_error(url: object, error: httpx.TransportError) -> ConnectionFailedError:
    """Makes an error of what the transport reports."""
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
        return _transient(
            f"cannot reach the server at {url} ({error}): start it with ./scripts/serve.sh, or "
            "give the address of one that runs"
        )
    if isinstance(error, httpx.UnsupportedProtocol):
        return ConnectionFailedError(f"the address {url} must begin with http:// or https://")
    if isinstance(error, httpx.TimeoutException):
        return ConnectionFailedError(f"the server at {url} has been silent for too long")
    return interrupted(error)


def interrupted(reason: object) -> ConnectionFailedError:
    """Makes the error for a connection that ended before the answer did."""
    return _transient(f"the connection broke before the answer was complete: {reason}")


def _transient(message: str) -> ConnectionFailedError:
    error = ConnectionFailedError(message)
    error.transient = True
    return error


@dataclass(frozen=True)
class Event:
    """A server-sent event."""

    name: str
    data: str


class EventReader:
    """Puts the pieces of a stream's text together to events.

    Only line feeds end a line: text of an answer may hold other characters that Python, and httpx
    with it, takes for line ends.
    """

    def __init__(self) -> None:
        # The parts of a line that has not ended: joined once, however small they are.
        self._line: list[str] = []
        self._name = ""
        self._data: list[str] = []

    def feed(self, text: str) -> Iterator[Event]:
        """Takes more text and yields the events that it completes."""
        first, *others = text.split("\n")
        self._line.append(first)
        if not others:
            return
        lines = ["".join(self._line), *others]
        self._line = [lines.pop()]
        for line in lines:
            event = self._take(line.removesuffix("\r"))
            if event is not None:
                yield event

    def _take(self, line: str) -> Event | None:
        if not line:
            event = Event(self._name or "message", "\n".join(self._data)) if self._data else None
            self._name, self._data = "", []
            return event
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            self._name = value
        elif field == "data":
            self._data.append(value)
        return None

"""The gateway's protocol, without any input or output: requests made, responses read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, TypeVar
from urllib.parse import quote

import httpx

from client.errors import (
    ConnectionFailedError,
    PersonaError,
    ServerError,
    error_of_code,
    error_of_status,
)
from client.results import Chunk, Completion, Trait

T = TypeVar("T")

DEFAULT_URL = "http://localhost:8000"
CONNECT_TIMEOUT = 5.0
# The gateway has deadlines of its own; this one only ends waiting for a gateway that hangs.
READ_TIMEOUT = 330.0

GENERATE = "/api/v1/generate"
BASELINE = "/api/v1/generate/baseline"
TRAITS = "/api/v1/traits"
STATUS = "/status"


class Options(TypedDict, total=False):
    """What a generation may be told besides its prompt and steering; see the gateway's `/docs`."""

    messages: list[dict[str, str]]
    system_prompt: str
    raw: bool
    max_tokens: int
    min_tokens: int
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    repetition_penalty: float
    frequency_penalty: float
    presence_penalty: float
    seed: int
    stop: str | list[str]
    layers: list[int]
    positions: Literal["all", "prompt", "response"]
    logprobs: int
    monitor: list[str]


def generation_call(
    prompt: str | None, trait: str | None, scalar: float, options: Options, *, stream: bool
) -> tuple[str, dict[str, Any]]:
    """Returns the path and the body that ask for a generation."""
    body: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if prompt is not None:
        body["prompt"] = prompt
    if stream:
        body["stream"] = True
    if trait is None:
        return BASELINE, body
    return GENERATE, {**body, "trait": trait, "scalar": scalar}


def trait_path(name: str) -> str:
    """Returns the path that describes a trait."""
    return f"{TRAITS}/{quote(name, safe='')}"


def read_body(response: httpx.Response, read: Callable[[Mapping[str, Any]], T]) -> T:
    """Returns what a response that has been received whole says.

    Args:
        response: The response.
        read: Makes a value of the body of a success.

    Raises:
        PersonaError: It is not a success, or not the gateway's.
    """
    if not response.is_success:
        raise read_error(response.status_code, response.headers, response.content)
    try:
        return read(json.loads(response.content))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ServerError(
            f"{response.url} does not answer like a Persona gateway: is the address right?"
        ) from error


def read_traits(body: Mapping[str, Any]) -> dict[str, Trait]:
    """Reads the list of traits."""
    return {name: Trait.from_json(item) for name, item in body["traits"].items()}


def read_error(status: int, headers: Mapping[str, str], content: bytes) -> PersonaError:
    """Makes an error of a response that is not a success, whoever sent it."""
    try:
        body = json.loads(content)
        message, code = str(body["error"]), str(body.get("code", ""))
    except (ValueError, TypeError, KeyError, AttributeError):
        message, code = f"the server answered with status {status}", ""
    return error_of_status(status, message, code, headers.get("Retry-After"))


def connection_error(url: object, error: httpx.TransportError) -> ConnectionFailedError:
    """Makes an error of what the transport reports."""
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
        return ConnectionFailedError(
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
    return ConnectionFailedError(f"the connection broke before the answer was complete: {reason}")


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
        self._line = ""
        self._name = ""
        self._data: list[str] = []

    def feed(self, text: str) -> Iterator[Event]:
        """Takes more text and yields the events that it completes."""
        *lines, self._line = (self._line + text).split("\n")
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


def read_event(event: Event) -> Chunk | Completion | None:
    """Returns what an event says, or `None` for one of a kind that a later server may add.

    Raises:
        PersonaError: It says that the generation failed.
    """
    body = json.loads(event.data)
    if event.name == "chunk":
        return Chunk.from_json(body)
    if event.name == "done":
        return Completion.from_json(body)
    if event.name == "error":
        raise error_of_code(str(body.get("code", "")), str(body["error"]))
    return None

"""The gateway's calls: what each sends and how its answer is read, without any input or output."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx

from persona_client import protocol
from persona_client.comparisons import (
    AnswerChunk,
    ComparedAnswer,
    Comparison,
    Sweep,
    SweptAnswer,
)
from persona_client.errors import InvalidRequestError
from persona_client.readers import AnswersReader, CompletionReader, StreamReader
from persona_client.results import Chunk, Completion, Status, Trait
from persona_client.steering import Operation, Steering, as_steering
from persona_client.vectors import vectors_json

T = TypeVar("T")
Item = TypeVar("Item")
W = TypeVar("W")

_TRAITS = "/api/v1/traits"


@dataclass(frozen=True)
class Call(Generic[T]):
    """A call that is answered at once.

    Attributes:
        read: Makes the result of the response, or raises a `PersonaError`.
        repeatable: Whether it may be made again when nobody knows what became of it.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    body: Mapping[str, Any] | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    repeatable: bool = True

    @property
    def arguments(self) -> dict[str, Any]:
        """Returns what httpx must send."""
        return {
            "method": self.method,
            "url": self.path,
            "json": self.body,
            "params": self.parameters or None,
            "content": self.content,
        }


@dataclass(frozen=True)
class StreamCall(Generic[Item, W]):
    """A call that is answered piece by piece."""

    path: str
    body: Mapping[str, Any]
    reader: Callable[[], StreamReader[Item, W]]


@dataclass(frozen=True)
class Question(Generic[Item, W]):
    """What can be answered at once, by a call, or piece by piece, by a stream call."""

    path: str
    body: Mapping[str, Any]
    read: Callable[[Mapping[str, Any]], W]
    reader: Callable[[], StreamReader[Item, W]]

    def __post_init__(self) -> None:
        """Raises `InvalidRequestError` if a number has no JSON, instead of what httpx raises."""
        if path := _not_finite(self.body):
            raise InvalidRequestError(f"{path} is not a finite number: give one, like 2.0")

    @property
    def call(self) -> Call[W]:
        """Asks for the whole answer."""
        return Call("POST", self.path, _reading(self.read), self.body)

    @property
    def stream(self) -> StreamCall[Item, W]:
        """Asks for the answer's pieces."""
        return StreamCall(self.path, {**self.body, "stream": True}, self.reader)


def baseline(
    prompt: str | None, options: protocol.Sampling | protocol.Options
) -> Question[Chunk, Completion]:
    """Asks for an answer without steering."""
    body = _prompt(prompt, options)
    return Question("/api/v1/generate/baseline", body, Completion.from_json, CompletionReader)


def generation(
    prompt: str | None, trait: str | None, scalar: float | None, options: protocol.Options
) -> Question[Chunk, Completion]:
    """Asks for an answer, steered if a trait is named or `steering` is among the options."""
    if trait is None and options.get("steering") is None:
        return baseline(prompt, options)
    body = _prompt(prompt, options)
    if trait is not None:
        body |= {"trait": trait, "scalar": scalar}
    return Question("/api/v1/generate", body, Completion.from_json, CompletionReader)


def steered_generation(
    prompt: str | None, trait: str | None, scalar: float | None, options: protocol.Options
) -> Question[Chunk, Completion]:
    """Asks for a steered answer.

    Raises:
        InvalidRequestError: Nothing says what to steer it by.
    """
    if trait is None and options.get("steering") is None:
        raise InvalidRequestError("give a trait and a scalar, steering, or both")
    return generation(prompt, trait, scalar, options)


def comparison(
    prompt: str | None,
    steerings: Iterable[Steering | Mapping[str, float]],
    baseline: bool,
    options: protocol.Sampling,
) -> Question[AnswerChunk | ComparedAnswer, Comparison]:
    """Asks for answers under several steerings."""
    asked = [as_steering(each).to_json() for each in steerings]
    body = {**_prompt(prompt, options), "steerings": asked}
    if not baseline:
        body["baseline"] = False
    reader = partial(AnswersReader, ComparedAnswer.from_json, Comparison.of_answers)
    return Question("/api/v1/compare", body, Comparison.from_json, reader)


def sweep(
    prompt: str | None,
    swept: Mapping[str, Any],
    scores: bool,
    options: protocol.Options,
) -> Question[AnswerChunk | SweptAnswer, Sweep]:
    """Asks for answers at several scalars or values; `swept` is what `of_series` returns."""
    body = {**_prompt(prompt, options), **swept}
    if scores:
        body["scores"] = True
    reader = partial(AnswersReader, SweptAnswer.from_json, Sweep.of_answers)
    return Question("/api/v1/sweep", body, Sweep.from_json, reader)


def of_series(
    trait: str | None,
    scalars: Sequence[float] | None,
    operation: Operation | None,
    values: Sequence[float] | None,
) -> dict[str, Any]:
    """Returns what a request says of the trait and its scalars, or the operation and its values."""
    series = {
        "trait": trait,
        "scalars": scalars and list(scalars),
        "operation": operation and operation.to_json(),
        "values": values and list(values),
    }
    return {name: value for name, value in series.items() if value is not None}


def traits() -> Call[dict[str, Trait]]:
    """Asks which traits there are."""

    def read(body: Mapping[str, Any]) -> dict[str, Trait]:
        return {name: Trait.from_json(item) for name, item in body["traits"].items()}

    return Call("GET", _TRAITS, _reading(read))


def trait(name: str) -> Call[Trait]:
    """Asks about one trait."""
    return Call("GET", _trait_path(name), _reading(Trait.from_json))


def put_trait(
    name: str, file: Path | str, convention: str | None = None, model_name: str | None = None
) -> Call[Trait]:
    """Makes a vector file a trait's.

    Raises:
        OSError: It cannot be read.
    """
    file = Path(file)
    given = {"filename": file.name, "convention": convention, "model_name": model_name}
    return Call(
        "PUT",
        _trait_path(name),
        _reading(Trait.from_json),
        parameters={key: value for key, value in given.items() if value is not None},
        content=file.read_bytes(),
    )


def delete_trait(name: str) -> Call[None]:
    """Removes a trait."""
    # Made again, it would find the trait gone and call that a failure.
    return Call("DELETE", _trait_path(name), protocol.check, repeatable=False)


def status() -> Call[Status]:
    """Asks what is served."""
    return Call("GET", "/status", _reading(Status.from_json))


def _reading(read: Callable[[Mapping[str, Any]], T]) -> Callable[[httpx.Response], T]:
    return partial(protocol.read_body, read=read)


def _prompt(prompt: str | None, options: protocol.Sampling) -> dict[str, Any]:
    body: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if "steering" in body:
        body["steering"] = as_steering(body["steering"]).to_json()
    if "vectors" in body:
        body["vectors"] = vectors_json(body["vectors"])
    return body if prompt is None else {**body, "prompt": prompt}


def _not_finite(value: Any, path: str = "") -> str:
    """Returns where a number is NaN or infinite, like `scalars.1`; `""` if none is."""
    if isinstance(value, float):
        return "" if math.isfinite(value) else path
    if isinstance(value, Mapping):
        parts: Iterable[tuple[Any, Any]] = value.items()
    elif isinstance(value, (list, tuple)):
        parts = enumerate(value)
    else:
        return ""
    places = (_not_finite(each, f"{path}.{key}" if path else f"{key}") for key, each in parts)
    return next(filter(None, places), "")


def _trait_path(name: str) -> str:
    return f"{_TRAITS}/{quote(name, safe='')}"

"""How the text of a stream becomes what its caller iterates over, without any input or output."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Generic, TypeVar

from persona_client import protocol
from persona_client.comparisons import AnswerChunk, OneAnswer
from persona_client.errors import ServerError, error_of_code
from persona_client.readouts import TokenReadout, TurnReadout
from persona_client.results import Chunk, Completion

Item = TypeVar("Item")
W = TypeVar("W")
A = TypeVar("A", bound=OneAnswer)


class StreamReader(ABC, Generic[Item, W]):
    """Reads one stream of events, which has begun once there was anything to yield."""

    def __init__(self) -> None:
        self._events = protocol.EventReader()
        self._whole: W | None = None
        self.begun = False

    @property
    def whole(self) -> W:
        """What the stream says in the end.

        Raises:
            RuntimeError: It has not ended.
        """
        if self._whole is None:
            raise RuntimeError("the stream has not ended: iterate over it first")
        return self._whole

    def feed(self, text: str) -> Iterator[Item]:
        """Takes more of the stream and yields what it completes.

        Raises:
            PersonaError: It says that the generation failed.
        """
        for event in self._events.feed(text):
            try:
                item = self._read_event(event)
            except protocol.MALFORMED as error:
                raise ServerError(
                    f"the stream has an event {event.name[:40]!r} that no Persona gateway sends: "
                    "is the address right?"
                ) from error
            if item is not None:
                self.begun = True
                yield item

    def check_ended(self) -> None:
        """Makes sure that there is no more to come.

        Raises:
            ConnectionFailedError: The stream has no end event.
        """
        if self._whole is None:
            raise protocol.interrupted("the stream has no end event")

    def _read_event(self, event: protocol.Event) -> Item | None:
        body = json.loads(event.data)
        if event.name == "error":
            raise error_of_code(str(body.get("code", "")), str(body["error"]))
        if event.name == "done":
            self._whole = self._end(body)
            return None
        return self._item(event.name, body)

    @abstractmethod
    def _item(self, name: str, body: Mapping[str, Any]) -> Item | None:
        """Reads an event; `None` for one of a kind that a later server may add."""

    @abstractmethod
    def _end(self, body: Mapping[str, Any]) -> W:
        """Reads the end event."""


class CompletionReader(StreamReader[Chunk, Completion]):
    """Reads the stream of one answer, whose end does not say again what was read at its tokens."""

    def __init__(self) -> None:
        super().__init__()
        self._turns: list[TurnReadout] = []
        self._tokens: list[TokenReadout] = []

    def _item(self, name: str, body: Mapping[str, Any]) -> Chunk | None:
        if name != "chunk":
            return None
        chunk = Chunk.from_json(body)
        self._turns += chunk.turn_readouts
        self._tokens += chunk.token_readouts
        return chunk

    def _end(self, body: Mapping[str, Any]) -> Completion:
        return replace(
            Completion.from_json(body),
            turn_readouts=tuple(self._turns),
            token_readouts=tuple(self._tokens),
        )


class AnswersReader(StreamReader[AnswerChunk | A, W]):
    """Reads the stream of several answers, and yields each whole when it ends.

    Args:
        read: Makes an answer of the data of an `answer` event.
        assemble: Makes the whole of what the last event says, and all answers in order.
    """

    def __init__(
        self,
        read: Callable[[Mapping[str, Any]], A],
        assemble: Callable[[Mapping[str, Any], tuple[A, ...]], W],
    ) -> None:
        super().__init__()
        self._read = read
        self._assemble = assemble
        self._answers: dict[int, A] = {}

    def _item(self, name: str, body: Mapping[str, Any]) -> AnswerChunk | A | None:
        if name == "chunk":
            return AnswerChunk.from_json(body)
        if name == "answer":
            answer = self._read(body)
            self._answers[answer.index] = answer
            return answer
        return None

    def _end(self, body: Mapping[str, Any]) -> W:
        answers = tuple(self._answers[index] for index in sorted(self._answers))
        return self._assemble(body, answers)

"""Several generations as the answers to one call: one body, or one stream of events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence, Set
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from gateway.api.comparison_bodies import OneAnswer, Origin
from gateway.api.merge_streams import merged
from gateway.api.response_bodies import IN_PIECES
from gateway.api.rest_answer import RestAnswer
from gateway.errors import GatewayError, InvalidRequestError, UnknownTraitError
from gateway.generation.generation import Generation
from gateway.http.server_sent_events import format_event
from triton_models.grpc_messages import TritonChunk

A = TypeVar("A", bound=OneAnswer)

_REFUSALS = (InvalidRequestError, UnknownTraitError)

REFUSAL_PATIENCE_SECONDS = 0.25
"""How long the first piece waits for a sign from every answer, since one of them may be refused.

The model refuses a request before it computes anything, but the first piece of another answer may
overtake the refusal. Answers that wait for room longer than this do not hold up the others.
"""


def at_place(place: str, message: str) -> str:
    """Returns a message about a place in the request, or about all of it if that is `""`."""
    return f"{place}: {message}" if place else message


@dataclass
class ComparedGeneration(Generic[A]):
    """One of the answers to a call.

    Attributes:
        index: Which one, to the client.
        place: What it is in the request, for an error that names it; `""` if nothing of its own.
        finish: Makes the answer of its fields.
        hidden: What of it only `finish` is to see, and not the client.
    """

    index: int
    place: str
    generation: Generation
    finish: Callable[..., A]
    logprobs: bool = False
    hidden: Set[str] = frozenset()
    error: GatewayError | None = None
    _answer: RestAnswer = field(init=False)

    def __post_init__(self) -> None:
        self._answer = RestAnswer(None, 0.0, {}, logprobs=self.logprobs)

    @property
    def log_fields(self) -> dict[str, Any]:
        """What there is to log about it."""
        return self._answer.log_fields

    async def news(self) -> _News[A]:
        """Yields itself with each of its pieces, and with `None` when it has ended or failed."""
        try:
            async with aclosing(self._answer.chunks(self.generation)) as chunks:
                async for chunk in chunks:
                    yield self, chunk
        except GatewayError as error:
            self.error = error
        yield self, None

    def piece_event(self, chunk: TritonChunk) -> bytes:
        """Returns the event for a piece of it."""
        piece = self._answer.piece(chunk)
        shown = {name: said for name, said in piece.items() if name not in self.hidden}
        return format_event("chunk", {"index": self.index, **shown})

    def answer(self) -> A:
        """Returns the answer, failed or not."""
        if self.error is None:
            fields = self._answer.response().model_dump()
        else:
            fields = self._answer.failure(self.error)
        # Its steering is told otherwise, and what is told by being there always is.
        del fields["trait"], fields["scalar"]
        answer = self.finish(**{"warnings": [], **fields, "index": self.index})
        return answer.model_copy(update=dict.fromkeys(self.hidden))

    def answer_event(self) -> bytes:
        """Returns the event that ends it."""
        return format_event("answer", self.answer().model_dump(exclude=IN_PIECES))

    def named(self, error: GatewayError) -> GatewayError:
        """Returns the error with its place in the request."""
        return type(error)(at_place(self.place, error.message), error.detail)


_News = AsyncGenerator[tuple[ComparedGeneration[A] | None, TritonChunk | None], None]


class Comparison(Generic[A]):
    """Answers of one call, which stand in one batch.

    A refusal of one is a refusal of the call, as long as nothing of it has been sent; another
    failure stands in the answer's place, unless all fail.
    """

    def __init__(
        self, branches: Sequence[ComparedGeneration[A]], origin: Origin, log_fields: dict[str, Any]
    ) -> None:
        self._branches = branches
        self._origin = origin
        self._log_fields = log_fields
        self._silent = {branch.index for branch in branches}
        self._begun = asyncio.Event()
        self._sent = False

    async def complete(self) -> list[A]:
        """Returns all answers, in order.

        Raises:
            GatewayError: One was refused, or all failed.
        """
        async with aclosing(self._news()) as news:
            async for _ in news:
                pass
        return [branch.answer() for branch in self._branches]

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Yields the events: chunks and answers as they come, and then `done`.

        Raises:
            GatewayError: One was refused before the first event, or all failed before it.
        """
        held: list[bytes] = []
        async with aclosing(self._news()) as news:
            async for branch, chunk in news:
                if branch is not None:
                    self._silent.discard(branch.index)
                    if chunk is None:
                        held.append(branch.answer_event())
                    elif chunk.says_something:
                        held.append(branch.piece_event(chunk))
                    # Should all fail, the call does, which needs a status, so no event before it.
                    if held and branch.error is None:
                        self._begun.set()
                waited = branch is None or not self._silent
                self._sent = self._sent or (self._begun.is_set() and waited)
                if self._sent:
                    for event in held:
                        yield event
                    held.clear()
        failed = self._failed()
        end = {"success": not failed, **self._origin.model_dump(), "failed": len(failed)}
        yield format_event("done", end)

    def error_event(self, error: GatewayError) -> bytes:
        """Returns the event that ends a stream which has begun and cannot be completed."""
        self._log_fields.update(code=error.code, reason=error.detail or error.message)
        return format_event("error", {"success": False, "error": error.message, "code": error.code})

    async def _patience(self) -> _News[A]:
        await self._begun.wait()
        await asyncio.sleep(REFUSAL_PATIENCE_SECONDS)
        yield None, None

    async def _news(self) -> _News[A]:
        """Yields the branches' news, and one without a branch when patience has ended."""
        self._log_fields.update(answers=len(self._branches), finish_reason="abandoned")
        sources: list[_News[A]] = [*(branch.news() for branch in self._branches), self._patience()]
        running = len(self._branches)
        try:
            async with aclosing(merged(sources)) as news:
                async for branch, chunk in news:
                    if branch and isinstance(branch.error, _REFUSALS) and not self._sent:
                        raise branch.named(branch.error)
                    yield branch, chunk
                    running -= branch is not None and chunk is None
                    if not running:
                        break
            failed = self._failed()
            if len(failed) == len(self._branches) and not self._sent and failed[0].error:
                raise failed[0].error
            self._log_fields["finish_reason"] = "done"
        finally:
            self._note()

    def _failed(self) -> list[ComparedGeneration[A]]:
        return [branch for branch in self._branches if branch.error is not None]

    def _note(self) -> None:
        lines = [branch.log_fields for branch in self._branches]
        self._log_fields["tokens"] = sum(line.get("tokens", 0) for line in lines)
        failed = self._failed()
        if failed:
            first = {name: failed[0].log_fields[name] for name in ("triton_id", "code", "reason")}
            self._log_fields.update(failed=len(failed), **first)

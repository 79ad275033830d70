"""One request on its way through the engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np

from triton_models.errors import ErrorCode
from triton_models.request import GenerationRequest
from triton_models.steering.delta import SteeringDelta
from triton_models.text.answer_stream import AnswerStream


class FinishReason(str, Enum):
    """Why an answer ended."""

    STOP = "stop"
    """The model ended it, or a stop string did."""

    LENGTH = "length"
    """It reached `max_tokens`."""

    CANCELLED = "cancelled"
    """Its client did not want it any more."""

    ERROR = "error"
    """It could not be completed."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of an answer. Every request gets exactly one with a `finish_reason`, its last.

    Attributes:
        token_ids: The tokens shown by this chunk; together they are whole UTF-8 characters.
        num_bytes: How many bytes of the tokens' text belong to the answer.
        num_prompt_tokens: The length of the prompt.
        num_generated_tokens: How many tokens were generated so far, shown or not.
        echo_ids: The prompt, on the first chunk of a request that asked for it.
        finish_reason: `None` until the last chunk.
        error: What went wrong, for the user, when the reason is `ERROR`.
        error_code: How a transport should report the error.
    """

    token_ids: tuple[int, ...] = ()
    num_bytes: int = 0
    num_prompt_tokens: int = 0
    num_generated_tokens: int = 0
    echo_ids: tuple[int, ...] = ()
    finish_reason: FinishReason | None = None
    error: str = ""
    error_code: ErrorCode | None = None

    def followed_by(self, later: Chunk) -> Chunk:
        """Returns one chunk for two that follow each other.

        Only a last chunk can end inside a token, so the first one's bytes are all of its tokens'.
        """
        return dataclasses.replace(
            later,
            token_ids=self.token_ids + later.token_ids,
            num_bytes=self.num_bytes + later.num_bytes,
            echo_ids=self.echo_ids + later.echo_ids,
        )


Emit = Callable[[Chunk], None]
"""Takes a request's chunks, on the engine's thread: it must neither block nor raise."""


class Sequence:
    """A request's state: its tokens, what of them is computed, and its row of the batch.

    Args:
        request: What was asked for.
        prompt_ids: The prompt.
        max_tokens: The most tokens to generate, at most what the context has room for.
        delta: What to add to the residual stream.
        emit: Takes the chunks.
        request_id: The client's name for the request, or "".
    """

    def __init__(
        self,
        request: GenerationRequest,
        prompt_ids: list[int],
        max_tokens: int,
        delta: SteeringDelta,
        emit: Emit,
        request_id: str,
    ) -> None:
        self.request = request
        self.request_id = request_id
        self.delta = delta
        self.max_tokens = max_tokens
        self.token_ids = list(prompt_ids)
        self.num_prompt_tokens = len(prompt_ids)
        self.num_computed = 0
        """How many tokens have their keys and values in the cache."""
        self.row: int | None = None
        self.finish_reason: FinishReason | None = None
        self.random = np.random.Generator(np.random.PCG64(request.sampling.seed))
        self._emit = emit
        self._answer = AnswerStream(request.stop_words)
        self._echo_ids = tuple(prompt_ids) if request.echo_prompt else ()

    @property
    def num_generated(self) -> int:
        """How many tokens were generated."""
        return len(self.token_ids) - self.num_prompt_tokens

    @property
    def num_uncomputed(self) -> int:
        """How many tokens the model has yet to see."""
        return len(self.token_ids) - self.num_computed

    @property
    def finished(self) -> bool:
        """Whether its last chunk was emitted."""
        return self.finish_reason is not None

    def append(self, token_id: int, token_bytes: bytes, *, ends: bool) -> None:
        """Adds a generated token, and emits what it allows to be shown.

        Args:
            token_id: The token.
            token_bytes: Its bytes.
            ends: Whether it is the model's end of an answer, which is not part of the text.
        """
        self.token_ids.append(token_id)
        if ends or self._answer.push(token_id, token_bytes):
            self.finish(FinishReason.STOP)
        elif self.num_generated >= self.max_tokens:
            self.finish(FinishReason.LENGTH)
        elif self.request.stream:
            release = self._answer.take()
            if release.token_ids:
                self._send(release.token_ids, release.num_bytes)

    def finish(self, reason: FinishReason) -> None:
        """Ends the answer and emits what is left of it."""
        release = self._answer.finish()
        self._send(release.token_ids, release.num_bytes, reason)

    def fail(self, message: str, code: ErrorCode) -> None:
        """Ends the answer with an error."""
        self._send((), 0, FinishReason.ERROR, message, code)

    def _send(
        self,
        token_ids: tuple[int, ...],
        num_bytes: int,
        reason: FinishReason | None = None,
        error: str = "",
        code: ErrorCode | None = None,
    ) -> None:
        self.finish_reason = reason
        echo_ids, self._echo_ids = self._echo_ids, ()
        self._emit(
            Chunk(
                token_ids,
                num_bytes,
                self.num_prompt_tokens,
                self.num_generated,
                echo_ids,
                reason,
                error,
                code,
            )
        )

"""The state of one request in the engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from triton_models.contract.errors import ErrorCode
from triton_models.contract.request import GenerationRequest
from triton_models.contract.steering import Enforced
from triton_models.engine.kv_room import Content, Extent
from triton_models.engine.timeline import Phases, RequestTimeline
from triton_models.grammars.matcher import Matcher
from triton_models.steering.limits import LimitReached, LimitWatch
from triton_models.steering.readout import Readout, TokenReadout, TurnReadout
from triton_models.steering.row_steering import RowSteering
from triton_models.text.answer_stream import AnswerStream, Release
from triton_models.vectors.calibration import CalibratedMean


class FinishReason(str, Enum):
    """Why an answer ended."""

    STOP = "stop"
    """The model emitted an end token, a stop string occurred, or the format is complete."""

    TRAIT_LIMIT = "trait_limit"
    """Its tokens reached a limit that stops it."""

    LENGTH = "length"
    """It reached `max_tokens`."""

    CANCELLED = "cancelled"
    """The client cancelled it."""

    ERROR = "error"
    """It could not be completed."""


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """The log-probabilities at a generated token.

    Attributes:
        logprob: The natural logarithm of its probability under the (steered) model, before
            penalties, temperature and filters.
        top: The most likely tokens with their log-probabilities, in descending order.
    """

    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class PromptTokenLogprobs:
    """The log-probabilities at a token of the prompt.

    Attributes:
        token_id: The token.
        logprob: As in `TokenLogprobs`; `None` for the first token, which nothing precedes.
        rank: 1 if no token was more likely, 2 if one was, and so on; 0 for the first token.
        top: As in `TokenLogprobs`.
    """

    token_id: int
    logprob: float | None = None
    rank: int = 0
    top: tuple[tuple[int, float], ...] = ()


@dataclass(slots=True)
class ConditionTally:
    """At how many generated tokens a condition was looked at, and how many met it.

    As with readouts, an answer's last token is not among them: its hidden state is not computed.
    """

    num_tokens: int = 0
    num_met: int = 0


@dataclass(slots=True)
class TokenChunk:
    """A chunk of an answer. Every request gets exactly one with a `finish_reason`, its last.

    It must not change once it was emitted. It is not frozen, because each generated token makes one
    and a frozen one takes three times as long to make.

    Attributes:
        token_ids: The tokens released by this chunk; together they are whole UTF-8 characters.
        num_bytes: How many bytes of the tokens' text belong to the answer.
        num_prompt_tokens: The length of the prompt.
        num_generated_tokens: How many tokens were generated so far, released or not.
        num_reused_tokens: How many prompt tokens were copied from the KV cache.
        echo_ids: The prompt, on the first chunk of a request that asked for it.
        logprobs: For each of the tokens, if the request asked for it.
        prompt_logprobs: For each of the prompt's tokens, on the first chunk of a request that asked
            for it.
        readouts: For each monitored trait the mean projection at each block, on the last chunk.
        calibrated_readouts: What those say, for traits with a calibration.
        token_readouts: For each of the tokens, if the request reads its tokens.
        turn_readouts: For each turn of the prompt, on the first chunk of such a request.
        condition: What became of a condition of the steering, on the last chunk.
        limits_reached: The limits that the answer reached, on the last chunk.
        enforced: What a policy added to the request, on the last chunk.
        warnings: Warnings about the steering for the user, on the last chunk.
        finish_reason: `None` until the last chunk.
        error: The message for the user when the reason is `ERROR`.
        error_code: How a transport should report the error.
        phases: How many seconds the request spent in each phase, on the last chunk.
    """

    token_ids: tuple[int, ...] = ()
    num_bytes: int = 0
    num_prompt_tokens: int = 0
    num_generated_tokens: int = 0
    num_reused_tokens: int = 0
    echo_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprobs, ...] = ()
    prompt_logprobs: tuple[PromptTokenLogprobs, ...] = ()
    readouts: Mapping[str, Mapping[int, float]] | None = None
    calibrated_readouts: Mapping[str, Mapping[int, CalibratedMean]] | None = None
    token_readouts: tuple[TokenReadout, ...] = ()
    turn_readouts: tuple[TurnReadout, ...] = ()
    condition: ConditionTally | None = None
    limits_reached: tuple[LimitReached, ...] = ()
    enforced: Enforced | None = None
    warnings: tuple[str, ...] = ()
    finish_reason: FinishReason | None = None
    error: str = ""
    error_code: ErrorCode | None = None
    phases: Phases | None = field(default=None, compare=False)

    def followed_by(self, later: TokenChunk) -> TokenChunk:
        """Returns this chunk and the next one as one.

        Only a last chunk can end inside a token, so this one has all bytes of its tokens.
        """
        return dataclasses.replace(
            later,
            token_ids=self.token_ids + later.token_ids,
            num_bytes=self.num_bytes + later.num_bytes,
            echo_ids=self.echo_ids + later.echo_ids,
            logprobs=self.logprobs + later.logprobs,
            prompt_logprobs=self.prompt_logprobs + later.prompt_logprobs,
            token_readouts=self.token_readouts + later.token_readouts,
            turn_readouts=self.turn_readouts + later.turn_readouts,
        )


Emit = Callable[[TokenChunk], None]
"""Takes a request's chunks, on the engine's thread: it must neither block nor raise."""


class Sequence:
    """A request's state: its tokens, how many of them are computed, and its place in the batch.

    A launched step counts as computed, so that the next one can be launched before its token is
    known.

    Args:
        request: What was asked for.
        prompt_ids: The prompt.
        max_tokens: The maximum number of tokens to generate; the context has room for them. With
            0, the prompt is computed and nothing is generated.
        steering: How its tokens are steered.
        emit: Takes the chunks.
        request_id: The client's id of the request, or `""`.
        readout: What to read from the residual stream, if the request monitors traits.
        limits: What watches the limits of the answer, if it has any.
        warnings: Warnings for the user, sent with the last chunk.
    """

    def __init__(
        self,
        request: GenerationRequest,
        prompt_ids: list[int],
        max_tokens: int,
        steering: RowSteering,
        emit: Emit,
        request_id: str = "",
        readout: Readout | None = None,
        limits: LimitWatch | None = None,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.request = request
        self.request_id = request_id
        self.steering = steering
        self.readout = readout
        self.limits = limits
        self.condition = ConditionTally() if steering.gate is not None else None
        """What becomes of its steering's condition."""
        self.warnings = warnings
        self.max_tokens = max_tokens
        self.token_ids = list(prompt_ids)
        self.num_prompt_tokens = len(prompt_ids)
        # The last token of an answer is never fed to the model.
        self._num_to_compute = len(prompt_ids) + max_tokens - 1
        self.content = Content(
            self.token_ids,
            self.num_prompt_tokens,
            steering.prompt_key,
            steering.response_key,
        )
        """What determines its keys and values; it shares `token_ids`, which grows."""
        self.num_reused = 0
        """How many prompt tokens were copied from another request's extent."""
        self.row: int | None = None
        """Its row of the batch, while it runs."""
        self.extent: Extent | None = None
        """Its slots of the KV cache, while it runs."""
        self.awaited: tuple[Sequence, int] | None = None
        """A sequence that is computing a shared prefix, and the length of that prefix."""
        self.matcher: Matcher | None = None
        """Follows the answer through its format, once that is compiled."""
        self.finish_reason: FinishReason | None = None
        self.timeline = RequestTimeline()
        self._emit = emit
        self._answer = AnswerStream(request.stop_words)
        self._held_logprobs: list[TokenLogprobs] = []
        self._unread = Release()
        """Tokens whose hidden states are wanted with them, and are computed with the next one."""
        self._turns_are_due = readout is not None and bool(readout.turns)
        self._echo_ids = tuple(prompt_ids) if request.echo_prompt else ()
        self.prompt_logprobs: list[PromptTokenLogprobs] = []
        """Those of the prompt's tokens up to now, if they were asked for and not emitted yet."""
        self.has_finite_prompt = True
        """Whether all of them are finite."""
        if self.scores_prompt:
            self.prompt_logprobs.append(PromptTokenLogprobs(prompt_ids[0]))

    @property
    def num_computed(self) -> int:
        """How many tokens have keys and values in the cache, or will after the launched steps."""
        return self.extent.num_computed if self.extent else 0

    @property
    def num_generated(self) -> int:
        """How many generated tokens are known."""
        return len(self.token_ids) - self.num_prompt_tokens

    @property
    def has_room_for_launch(self) -> bool:
        """Whether it is unfinished and needs more steps than were launched."""
        return self.finish_reason is None and self.num_computed < self._num_to_compute

    @property
    def scores_prompt(self) -> bool:
        """Whether the log-probabilities of its prompt are wanted."""
        return self.request.prompt_logprobs is not None

    @property
    def computes_whole_prompt(self) -> bool:
        """Whether something is read at its prompt's tokens, which keys and values do not tell."""
        return self.scores_prompt or (self.readout is not None and bool(self.readout.turns))

    @property
    def awaits_format(self) -> bool:
        """Whether it cannot be computed yet, because its format is being compiled."""
        return self.request.format is not None and self.matcher is None

    @property
    def failed(self) -> bool:
        """Whether it ended with an error."""
        return self.finish_reason is FinishReason.ERROR

    @property
    def finished(self) -> bool:
        """Whether its last chunk was emitted."""
        return self.finish_reason is not None

    def launch(self, length: int) -> None:
        """Counts the next `length` tokens as computed.

        Raises:
            ValueError: Its extent has no room for them.
        """
        if self.extent is None or self.extent.num_computed + length > self.extent.length:
            raise ValueError("a sequence without room in the KV cache cannot be computed")
        self.extent.num_computed += length

    def launch_token(self) -> int:
        """Counts its newest token as computed, and returns that token's position.

        Raises:
            ValueError: Its extent has no room for it.
        """
        position = self.num_computed
        self.launch(1)
        return position

    def append(
        self,
        token_id: int,
        token_bytes: bytes,
        *,
        ends: bool,
        completes: bool = False,
        logprobs: TokenLogprobs | None = None,
    ) -> None:
        """Appends a generated token, and emits the tokens that can be released.

        Args:
            token_id: The token.
            token_bytes: Its bytes.
            ends: Whether it ends the answer and is not part of the text.
            completes: Whether it completes the answer's format, so that nothing can follow it.
            logprobs: Its log-probabilities, if the request asked for them.
        """
        self.token_ids.append(token_id)
        if ends:
            if self.scores_prompt and logprobs is not None:
                # Who scores texts counts the tokens: the one after the prompt is there, as it is in
                # OpenAI's API, even if it is the end.
                self._held_logprobs.append(logprobs)
                self._answer.push(token_id, b"")
            self.finish(FinishReason.STOP)
            return
        if logprobs is not None:
            self._held_logprobs.append(logprobs)
        is_last = self.num_generated >= self.max_tokens
        if self.request.stream and not (is_last or completes):
            release = self._answer.pass_through(token_id, token_bytes)
            if release is not None:
                self._pass_on(release)
                return
        if self._answer.push(token_id, token_bytes) or completes:
            self.finish(FinishReason.STOP)
        elif is_last:
            self.finish(FinishReason.LENGTH)
        elif self.request.stream:
            self._pass_on(self._answer.take())

    def finish(self, reason: FinishReason) -> None:
        """Ends the answer and emits the rest of it."""
        self._send(self._unread.followed_by(self._answer.finish()), reason)

    def fail(self, message: str, code: ErrorCode) -> None:
        """Ends the answer with an error."""
        self._send(Release(), FinishReason.ERROR, message, code)

    def _pass_on(self, release: Release) -> None:
        """Emits tokens of a stream, if there are any; when they have been read, if they are."""
        if self.readout is not None and self.readout.reads_before:
            self._unread, release = release, self._unread
        if release.token_ids or self._turns_are_due:
            self._send(release)

    def _send(
        self,
        release: Release,
        reason: FinishReason | None = None,
        error: str = "",
        code: ErrorCode | None = None,
    ) -> None:
        self.finish_reason = reason
        chunk = TokenChunk(
            token_ids=release.token_ids,
            num_bytes=release.num_bytes,
            num_prompt_tokens=self.num_prompt_tokens,
            num_generated_tokens=self.num_generated,
            num_reused_tokens=self.num_reused,
        )
        if self._echo_ids:
            chunk.echo_ids, self._echo_ids = self._echo_ids, ()
        if self.prompt_logprobs and not error:
            chunk.prompt_logprobs = tuple(self.prompt_logprobs)
            self.prompt_logprobs = []
        if self._held_logprobs:
            chunk.logprobs = tuple(self._held_logprobs[: len(release.token_ids)])
            del self._held_logprobs[: len(release.token_ids)]
        if self.readout is not None and self.readout.reads_before:
            chunk.token_readouts = self.readout.take_tokens(len(release.token_ids))
            if self._turns_are_due and not error and reason is not FinishReason.CANCELLED:
                chunk.turn_readouts = self.readout.turn_means()
                self._turns_are_due = False
        if reason is not None:
            chunk.finish_reason = reason
            chunk.error, chunk.error_code = error, code
            if self.readout and not error:
                chunk.readouts = self.readout.means()
                chunk.calibrated_readouts = self.readout.calibrated_means()
            if self.condition is not None and not error:
                chunk.condition = dataclasses.replace(self.condition)
            if self.limits is not None:
                chunk.limits_reached = self.limits.reached
            chunk.enforced = self.request.steering.enforced or None
            chunk.warnings = self.warnings
            chunk.phases = self.timeline.phases()
        self._emit(chunk)

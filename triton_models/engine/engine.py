"""The engine: one thread that owns the running requests and steps the model.

Other threads only hand over work (`submit`, `cancel`, `stop`) and read counters. All request state
belongs to the engine's thread, so none of it needs a lock.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

from triton_models.contract.errors import (
    EngineUnavailableError,
    ErrorCode,
    InvalidArgumentError,
    QueueFullError,
)
from triton_models.contract.request import GenerationRequest
from triton_models.engine.answer_formats import AnswerFormats
from triton_models.engine.kv_room import KVRoom
from triton_models.engine.launched_step import LaunchedStep
from triton_models.engine.model_runner import ModelRunner
from triton_models.engine.new_sequence import RequestLimits, new_sequence
from triton_models.engine.prompt_pace import GPU_TOKENS, PromptPace
from triton_models.engine.scheduler import Plan, Scheduler
from triton_models.engine.sequence import Emit, FinishReason, Sequence, TokenChunk, TokenLogprobs
from triton_models.engine.statistics import EngineStatistics, StatisticsRecorder
from triton_models.engine.threads import name_thread
from triton_models.settings import ServerSettings
from triton_models.text.token_bytes import TokenBytes
from triton_models.vectors.registry import ModelFit, VectorRegistry

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Engine:
    """Continuous batching over one model.

    Args:
        runner: Runs the steps.
        room: Allocates the runner's KV cache.
        token_bytes: The bytes of each token.
        registry: Returns the vectors that are loaded at the moment; a request keeps those it
            started with.
        end_ids: The tokens that end an answer.
        context_length: The maximum number of tokens of a prompt and its answer together.
        settings: Sizes and defaults.
        formats: Follows the formats of answers; without it, no request may have one.
    """

    def __init__(
        self,
        runner: ModelRunner,
        room: KVRoom,
        token_bytes: TokenBytes,
        registry: Callable[[], VectorRegistry],
        end_ids: SequenceOf[int],
        context_length: int,
        settings: ServerSettings,
        formats: AnswerFormats | None = None,
    ) -> None:
        self._runner = runner
        self._token_bytes = token_bytes
        self._registry = registry
        self._end_ids = frozenset(end_ids)
        self._limits = RequestLimits(
            runner.vocabulary_size,
            context_length,
            settings.defaults.max_tokens,
            runner.dtype,
            ModelFit(settings.shown_model_name, runner.hidden_size, runner.num_layers),
        )
        self._settings = settings
        on_gpu = runner.device.type == "cuda"
        self._pace = PromptPace(settings.prefill_chunk or (GPU_TOKENS if on_gpu else 0))
        self._scheduler = Scheduler(settings.max_batch_rows, self._pace.budget, room)
        self._overlaps = settings.overlap == "on" or (settings.overlap == "auto" and on_gpu)
        self._launched: _Launched | None = None
        self._formats = formats
        self._wake = threading.Condition()
        self._inbox: deque[Callable[[], None]] = deque()
        self._num_open = 0
        self._has_ended = False
        """Whether any sequence has ended since the last sweep; for the engine's thread only."""
        self._accepting = True
        self._stopping = False
        self._recorder = StatisticsRecorder()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Starts the engine's thread."""
        if self._formats is not None:
            self._formats.start()
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the engine's thread is running."""
        return self._thread.is_alive()

    @property
    def statistics(self) -> EngineStatistics:
        """Gauges of this moment, and counters up to the last step."""
        running = self._scheduler.num_running
        waiting = max(self._num_open - running, 0)
        return self._recorder.snapshot(running, waiting, self._scheduler.room)

    def submit(
        self, request: GenerationRequest, prompt_ids: list[int], emit: Emit, request_id: str = ""
    ) -> Sequence:
        """Takes a request, whose chunks go to `emit` on the engine's thread.

        Returns:
            A handle for `cancel`.

        Raises:
            InvalidArgumentError: The prompt does not fit the model, or the steering cannot work; a
                format that cannot be followed fails the answer instead.
            TraitNotLoadedError: A trait to steer by, to monitor or to limit has no vector.
            EnforcementError: What a policy enforces cannot be applied.
            QueueFullError: Too many requests are waiting already.
            EngineUnavailableError: The engine is stopping or dead.
        """
        if request.format is not None and self._formats is None:
            raise InvalidArgumentError("this engine cannot follow a format: leave it out")
        counted = self._counting(request, emit)
        sequence = new_sequence(
            request, prompt_ids, self._limits, self._registry(), counted, request_id
        )
        with self._wake:
            if not self._accepting:
                raise EngineUnavailableError("the engine is not running: try again later")
            room = self._settings.max_batch_rows + self._settings.max_waiting
            if self._num_open >= room:
                raise QueueFullError(
                    f"the server is busy: {self._num_open} requests are running or waiting, and "
                    f"the maximum is {room}; try again later"
                )
            self._num_open += 1
            self._recorder.submitted(sequence)
            self._inbox.append(lambda: self._scheduler.add(sequence))
            self._wake.notify()
        if self._formats is not None:
            self._formats.begin(sequence, self._hand_over)
        return sequence

    def cancel(self, sequence: Sequence) -> None:
        """Cancels a request, which then emits its last chunk, unless it has ended already."""
        self._hand_over(lambda: self._cancel_all([sequence]))

    def cancel_by_id(self, request_id: str, report: Callable[[int], None]) -> None:
        """Cancels every request with an id.

        `report` takes their number, on the engine's thread, or 0 at once if the engine is not
        running.
        """

        def cancel_matching() -> None:
            found = [each for each in self._scheduler.sequences() if each.request_id == request_id]
            self._cancel_all(found)
            report(len(found))

        if not self._hand_over(cancel_matching):
            report(0)

    def call(self, function: Callable[[], T]) -> T:
        """Calls a function on the engine's thread, between two steps; returns or raises as it does.

        All other computing with the engine's model must go through here: see
        `in_short_lived_thread`.

        Raises:
            EngineUnavailableError: The engine is stopping or dead.
        """
        result: Future[T] = Future()

        def compute() -> None:
            if self._stopping:  # the device may have failed: do not touch it
                result.set_exception(EngineUnavailableError("the engine has stopped"))
                return
            try:
                result.set_result(function())
            except BaseException as error:
                result.set_exception(error)

        if threading.current_thread() is self._thread:
            return function()
        if not (self.alive and self._hand_over(compute)):
            raise EngineUnavailableError("the engine is not running: try again later")
        return result.result()

    def stop(self, drain_seconds: float) -> None:
        """Refuses new requests, waits up to `drain_seconds` for open ones, then ends the rest."""
        with self._wake:
            self._accepting = False
        deadline = time.monotonic() + drain_seconds
        while self._num_open and self.alive and time.monotonic() < deadline:
            time.sleep(0.02)
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self.alive:
            self._thread.join()
        else:  # it was never started, or died while something was handed over
            self._end_all(EngineUnavailableError("the server is shutting down"))
        if self._formats is not None:
            self._formats.stop()

    def _counting(self, request: GenerationRequest, emit: Emit) -> Emit:
        """Returns `emit`, with the counters updated before a last chunk is emitted."""

        def counted(chunk: TokenChunk) -> None:
            if chunk.finish_reason is not None:
                self._has_ended = True
                with self._wake:
                    self._num_open -= 1
                    self._recorder.finished(request, chunk)
            emit(chunk)

        return counted

    def _hand_over(self, action: Callable[[], None]) -> bool:
        """Queues an action before the engine's next step; false if the engine has stopped."""
        with self._wake:
            if self._stopping:
                return False
            self._inbox.append(action)
            self._wake.notify()
            return True

    def _run(self) -> None:
        try:
            name_thread(self._thread.name)
            self._runner.enter_thread()
            while self._take_inbox():
                self._step()
            self._end_all(EngineUnavailableError("the server is shutting down"))
        except BaseException:
            logger.exception("the engine died")
            with self._wake:
                self._accepting = False
                self._stopping = True
            self._end_all(EngineUnavailableError("the engine died: see the server's log"))

    def _take_inbox(self) -> bool:
        """Waits for work and runs the queued actions; false when the engine is to stop."""
        with self._wake:
            while not (self._inbox or self._stopping or self._scheduler.has_work):
                self._wake.wait()
            # Once this is set nothing more is queued, so the loop below leaves nothing behind.
            stopping = self._stopping
        while self._inbox:
            self._inbox.popleft()()
        return not stopping

    def _step(self) -> None:
        self._sweep()
        if admitted := self._scheduler.admit():
            for sequence in admitted:
                sequence.timeline.admit()
            self._assign(admitted)
        plan = self._scheduler.plan()
        launched = None if plan.is_empty else self._launch(plan)
        # The device computes the new step while the previous one is read.
        self._collect_earlier()
        if self._overlaps:
            self._launched = launched
        else:
            self._collect(launched)
        self._sweep()
        if not self._scheduler.has_work:
            # All its sequences have ended: count the step, discard its tokens.
            self._collect_earlier()

    def _launch(self, plan: Plan) -> _Launched | None:
        started = time.monotonic()
        # A launched step has tokens that the matchers must take first.
        first = self._collect_earlier if self._launched else None
        masks = self._formats.masks_of(plan.giving, first) if self._formats else None
        try:
            step = self._runner.launch(plan, masks)
        except Exception:
            self._fail_step(plan)
            return None
        self._pace.measured(plan, time.monotonic() - started)
        return _Launched(plan, step)

    def _collect_earlier(self) -> None:
        """Appends the tokens of the step before, unless that was done already."""
        earlier, self._launched = self._launched, None
        self._collect(earlier)

    def _collect(self, launched: _Launched | None) -> None:
        """Waits for a launched step and appends its tokens to their sequences."""
        if launched is None:
            return
        try:
            tokens = launched.step.wait()
        except Exception:
            self._fail_step(launched.plan)
            return
        now = time.monotonic()
        self._recorder.stepped(launched.plan)
        for sequence, token_id, logprobs in tokens:
            # Others were cancelled, or their end was not known yet when the step was launched.
            if sequence.finish_reason is None:
                self._take(sequence, token_id, logprobs, now)

    def _fail_step(self, plan: Plan) -> None:
        logger.exception("a step failed")
        for sequence in plan.sequences:
            self._fail(sequence, "the step that computed this request failed on the server")

    def _assign(self, sequences: SequenceOf[Sequence]) -> None:
        """Sets up all rows at once, which is faster on a GPU than one by one."""
        try:
            self._runner.assign(sequences)
        except Exception:
            if len(sequences) > 1:  # one by one, to find the one at fault
                for sequence in sequences:
                    self._assign([sequence])
                return
            logger.exception("a request's steering could not be set up")
            self._fail(sequences[0], "the request's steering could not be set up on the server")

    def _take(
        self, sequence: Sequence, token_id: int | None, logprobs: TokenLogprobs | None, now: float
    ) -> None:
        """Appends a sampled token to its sequence, unless the ones before it end the answer."""
        if sequence.limits is not None and sequence.limits.stops:
            sequence.finish(FinishReason.TRAIT_LIMIT)
            return
        if token_id is None or not sequence.has_finite_prompt:
            self._fail(
                sequence,
                "the model's output is not finite: the steering is too strong for its number "
                "format; use smaller scalars",
                ErrorCode.INVALID_ARGUMENT,
            )
            return
        if not sequence.max_tokens:
            sequence.finish(FinishReason.LENGTH)
            return
        self._recorder.generated(sequence, now)
        text = self._token_bytes[token_id]
        # A special token has no text in which a stop string could be found.
        ends = not text and self._token_bytes.name(token_id) in sequence.request.stop_words
        ends |= token_id in self._end_ids and not sequence.request.ignore_eos
        matcher = sequence.matcher
        completes = matcher is not None and not ends and matcher.advance(token_id)
        sequence.append(token_id, text, ends=ends, completes=completes, logprobs=logprobs)

    def _cancel_all(self, sequences: SequenceOf[Sequence]) -> None:
        for sequence in sequences:
            if not sequence.finished:
                sequence.finish(FinishReason.CANCELLED)
        self._sweep()

    def _fail(self, sequence: Sequence, message: str, code: ErrorCode = ErrorCode.INTERNAL) -> None:
        if not sequence.finished:
            sequence.fail(message, code)

    def _sweep(self) -> None:
        """Removes finished sequences, and frees their rows and what is kept for them."""
        if not self._has_ended:
            return
        self._has_ended = False
        for sequence in self._scheduler.remove_finished():
            if sequence.row is not None:
                self._runner.release(sequence.row)
                self._runner.forget(sequence)

    def _end_all(self, error: EngineUnavailableError) -> None:
        """Ends all open requests without touching the device, which may have failed."""
        while self._inbox:
            try:
                self._inbox.popleft()()
            except Exception:
                logger.exception("an action was lost with the engine")
        for sequence in self._scheduler.sequences():
            self._fail(sequence, error.message, error.code)


@dataclass(frozen=True, slots=True)
class _Launched:
    """A step in flight, and its plan."""

    plan: Plan
    step: LaunchedStep

"""The engine's counters and timings, as plain numbers that other threads can read."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from triton_models.contract.buckets import BETWEEN_TOKENS_SECONDS, FIRST_TOKEN_SECONDS
from triton_models.contract.request import GenerationRequest
from triton_models.contract.request_vectors import COUNTED_AS
from triton_models.contract.steering import LimitAction
from triton_models.engine.kv_room import KVRoom
from triton_models.engine.scheduler import Plan
from triton_models.engine.sequence import FinishReason, Sequence, TokenChunk

BATCH_ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)
"""Upper bounds of the histogram of the requests in a step."""

_FINISHED = (FinishReason.STOP, FinishReason.TRAIT_LIMIT, FinishReason.LENGTH)


@dataclass(frozen=True, slots=True)
class HistogramSnapshot:
    """A histogram as Prometheus has it.

    Attributes:
        bounds: The buckets' upper bounds, ascending; one more bucket takes larger values.
        counts: The number of values in each bucket, not cumulative; one more than `bounds`.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float


class Histogram:
    """Counts values in buckets."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def observe(self, value: float) -> None:
        """Counts a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def snapshot(self) -> HistogramSnapshot:
        """Returns the counts so far."""
        return HistogramSnapshot(self._bounds, tuple(self._counts), self._total)


@dataclass(frozen=True, slots=True)
class EngineStatistics:
    """The engine's gauges, and its counters since it started.

    Attributes:
        waiting: Requests that wait for a row or for room in the KV cache.
        reused_tokens: Prompt tokens copied from the KV cache instead.
        kv_tokens_used: Slots of the KV cache that belong to running requests.
        kv_tokens_retained: Slots retained for reuse, evicted when a request needs room.
        kv_tokens_total: All slots of the KV cache.
        steered_requests: For each trait, the number of requests steered by it.
        limits_reached: For each trait and action, how many limits were reached.
        first_token_seconds: Times from arrival to first token.
        between_tokens_seconds: Times between two tokens of an answer.
        batch_rows: Requests per step.
    """

    running: int
    waiting: int
    finished: int
    cancelled: int
    failed: int
    prompt_tokens: int
    reused_tokens: int
    generated_tokens: int
    steps: int
    kv_tokens_used: int
    kv_tokens_retained: int
    kv_tokens_total: int
    steered_requests: Mapping[str, int]
    limits_reached: Mapping[str, Mapping[str, int]]
    first_token_seconds: HistogramSnapshot
    between_tokens_seconds: HistogramSnapshot
    batch_rows: HistogramSnapshot


@dataclass(slots=True)
class StatisticsRecorder:
    """Counts events, on the engine's thread except for `submitted`."""

    _ended: Counter[FinishReason] = field(default_factory=Counter)
    _tokens: Counter[str] = field(default_factory=Counter)
    _steered: Counter[str] = field(default_factory=Counter)
    _limits: Counter[tuple[str, LimitAction]] = field(default_factory=Counter)
    _steps: int = 0
    _first_token: Histogram = field(default_factory=lambda: Histogram(FIRST_TOKEN_SECONDS))
    _between_tokens: Histogram = field(default_factory=lambda: Histogram(BETWEEN_TOKENS_SECONDS))
    _batch_rows: Histogram = field(default_factory=lambda: Histogram(BATCH_ROWS))

    def submitted(self, sequence: Sequence) -> None:
        """Counts an accepted request; the caller holds the engine's lock."""
        sequence.timeline.submit()
        request = sequence.request
        traits = {trait for trait, scalar in request.steering.totals.items() if scalar}
        traits |= {each.trait for each in request.steering.operations if each.strength}
        self._steered.update({_counted_as(trait, request) for trait in traits})

    def stepped(self, plan: Plan) -> None:
        """Counts a computed step."""
        self._steps += 1
        self._batch_rows.observe(len(plan.generating) + len(plan.prompts))
        self._tokens["prompt"] += sum(each.length for each in plan.prompts)
        for copy in plan.copies:
            self._tokens["reused"] += copy.length

    def generated(self, sequence: Sequence, now: float) -> None:
        """Counts a token before it is appended; `now` is in seconds of the monotonic clock."""
        is_first = sequence.timeline.first_token is None
        histogram = self._first_token if is_first else self._between_tokens
        histogram.observe(sequence.timeline.token(now))
        self._tokens["generated"] += 1

    def finished(self, request: GenerationRequest, last: TokenChunk) -> None:
        """Counts a request that ended with a chunk; the caller holds the engine's lock."""
        if last.finish_reason is not None:
            self._ended[last.finish_reason] += 1
        for each in last.limits_reached:
            limit = each.resolved.limit
            self._limits[_counted_as(limit.trait, request), limit.action] += 1

    def snapshot(self, running: int, waiting: int, room: KVRoom) -> EngineStatistics:
        """Returns the counters so far together with the gauges of this moment."""
        return EngineStatistics(
            running=running,
            waiting=waiting,
            finished=sum(self._ended[reason] for reason in _FINISHED),
            cancelled=self._ended[FinishReason.CANCELLED],
            failed=self._ended[FinishReason.ERROR],
            prompt_tokens=self._tokens["prompt"],
            reused_tokens=self._tokens["reused"],
            generated_tokens=self._tokens["generated"],
            steps=self._steps,
            kv_tokens_used=room.used_slots,
            kv_tokens_retained=room.retained_slots,
            kv_tokens_total=room.num_slots,
            steered_requests=dict(self._steered),
            limits_reached=self._limits_by_trait(),
            first_token_seconds=self._first_token.snapshot(),
            between_tokens_seconds=self._between_tokens.snapshot(),
            batch_rows=self._batch_rows.snapshot(),
        )

    def _limits_by_trait(self) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        # Copied first, since the engine's thread may add to it meanwhile.
        for (trait, action), count in dict(self._limits).items():
            found.setdefault(trait, {})[action] = count
        return found


def _counted_as(trait: str, request: GenerationRequest) -> str:
    """Returns what a trait is called in statistics, whose names must be few."""
    return COUNTED_AS if any(trait == each.name for each in request.vectors) else trait

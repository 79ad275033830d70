"""From the moments at which tokens came to rates.

All times are seconds of `time.perf_counter`.
"""

from __future__ import annotations

import operator
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Arrival:
    """How many tokens a stream had generated so many seconds after the requests were made."""

    seconds: float
    tokens: int


@dataclass
class Timeline:
    """When the tokens of one run came, stream by stream.

    Each stream's arrivals may be recorded by a thread of its own.
    """

    streams: int
    started: float = field(default_factory=time.perf_counter)
    arrivals: list[list[Arrival]] = field(init=False)
    requests: list[float] = field(init=False)
    """When each stream's request was made, in seconds since `started`."""

    def __post_init__(self) -> None:
        self.arrivals = [[] for _ in range(self.streams)]
        self.requests = [0.0] * self.streams

    def restart(self) -> None:
        """Counts from this moment: the requests are made now."""
        self.started = time.perf_counter()

    def time_until(self, seconds: float) -> float:
        """Returns how long it is until so many seconds after the start."""
        return max(0.0, self.started + seconds - time.perf_counter())

    def wait_for(self, stream: int, seconds: float) -> None:
        """Waits until a stream's request is due, so many seconds after the start."""
        if seconds:
            time.sleep(self.time_until(seconds))
            self.requested(stream)

    def requested(self, stream: int) -> None:
        """Notes that a stream's request is made now, where not all are made at once."""
        self.requests[stream] = time.perf_counter() - self.started

    @property
    def first_token_seconds(self) -> float:
        """From the request to the first token, the median of the streams."""
        return statistics.median(
            arrivals[0].seconds - request
            for arrivals, request in zip(self.arrivals, self.requests, strict=True)
        )

    def record(self, stream: int, tokens: int) -> None:
        """Notes that a stream has now generated so many tokens."""
        self.arrivals[stream].append(Arrival(time.perf_counter() - self.started, tokens))


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one run delivered.

    Attributes:
        tokens_per_second: Generated tokens of all streams, over the time from the requests to the
            last token: computing the prompts included.
        decode_tokens_per_second: The same while every stream was generating: from the moment the
            last stream had its first token until the first stream had its last. `None` where there
            was no such time.
        step_seconds: How long each stream then waited from one token to the next.
        first_token_seconds: From the request to the first token, the median of the streams.
        last_begun_seconds: From the first request until every stream had its first token; `None`
            where streams were not served together.
    """

    tokens_per_second: float
    decode_tokens_per_second: float | None
    step_seconds: float | None
    first_token_seconds: float
    last_begun_seconds: float | None = None


class WrongTokenCountError(RuntimeError):
    """A contender did not generate what it was asked for: its times mean nothing."""


def measure(timeline: Timeline, new_tokens: int) -> Measurement:
    """Returns what a run of streams that were served together delivered.

    Raises:
        WrongTokenCountError: A stream generated another number.
    """
    counts = {stream[-1].tokens if stream else 0 for stream in timeline.arrivals}
    if counts != {new_tokens}:
        raise WrongTokenCountError(
            f"streams generated {sorted(counts)} tokens where {new_tokens} were asked for"
        )
    last = max(stream[-1].seconds for stream in timeline.arrivals)
    decode = _decode_rate(timeline.arrivals)
    return Measurement(
        tokens_per_second=new_tokens * timeline.streams / last,
        decode_tokens_per_second=decode,
        step_seconds=timeline.streams / decode if decode else None,
        first_token_seconds=timeline.first_token_seconds,
        last_begun_seconds=max(stream[0].seconds for stream in timeline.arrivals),
    )


def one_after_another(
    requests: Sequence[Measurement], streams: int, new_tokens: int
) -> Measurement:
    """Returns what serving streams one after another delivers, from some requests served alone.

    The rates do not depend on how many wait. The first tokens do: the stream in the middle of the
    queue waits for those before it.
    """
    # All generate equally many tokens, so the rate of all is the harmonic mean of their rates.
    rate = statistics.harmonic_mean([request.tokens_per_second for request in requests])
    decode_rates = [
        request.decode_tokens_per_second
        for request in requests
        if request.decode_tokens_per_second is not None
    ]
    decode = statistics.harmonic_mean(decode_rates) if decode_rates else None
    first = statistics.median(request.first_token_seconds for request in requests)
    return Measurement(
        tokens_per_second=rate,
        decode_tokens_per_second=decode,
        step_seconds=1 / decode if decode else None,
        first_token_seconds=first + (streams - 1) / 2 * new_tokens / rate,
    )


def _decode_rate(streams: Sequence[Sequence[Arrival]]) -> float | None:
    """Returns the tokens per second of all streams while all of them were generating."""
    seconds = operator.attrgetter("seconds")
    begin = max(stream[0].seconds for stream in streams)
    end = min(stream[-1].seconds for stream in streams)
    rate = 0.0
    for stream in streams:
        # From one of its tokens to another: no part of a step is counted as a whole one.
        first = max((each for each in stream if each.seconds <= begin), key=seconds)
        last = max((each for each in stream if each.seconds <= end), key=seconds, default=first)
        if last.seconds <= first.seconds:
            return None
        rate += (last.tokens - first.tokens) / (last.seconds - first.seconds)
    return rate

"""The engine's statistics as metrics on Triton's metrics endpoint.

A separate thread copies them every 100 ms, so that the engine never waits for Triton. Triton's
Python backend cannot set a histogram's buckets, only observe single values, so histograms are
counters named like the series of a Prometheus histogram; `histogram_quantile` accepts them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from triton_models.engine.statistics import EngineStatistics, HistogramSnapshot

logger = logging.getLogger(__name__)

UPDATE_SECONDS = 0.1
STOP_SECONDS = 2.0

GAUGES = {
    "persona_requests_running": "Requests in the batch.",
    "persona_requests_waiting": "Requests that wait for a row or for room in the KV cache.",
    "persona_kv_cache_used_tokens": "Token slots of the KV cache that running requests hold.",
    "persona_kv_cache_retained_tokens": "Token slots kept for reuse until a request needs them.",
    "persona_kv_cache_capacity_tokens": "All token slots of the KV cache.",
    "persona_kv_cache_used_ratio": "Fraction of the KV cache that running requests hold, 0 to 1.",
}

COUNTERS = {
    "persona_tokens_total": "Tokens by kind: prompt computed, prompt reused, generated.",
    "persona_requests_total": "Requests that ended, by outcome: finished, cancelled, failed.",
    "persona_steered_requests_total": "Requests steered by a trait.",
    "persona_limits_reached_total": "Limits that answers reached, by trait and action.",
    "persona_steps_total": "Steps of the model.",
}

HISTOGRAMS = {
    "persona_time_to_first_token_seconds": "From a request's arrival to its first token",
    "persona_time_between_tokens_seconds": "Between two tokens of an answer",
    "persona_batch_rows": "Requests in a step",
}


Labels = tuple[tuple[str, str], ...]
Key = tuple[str, Labels]
"""Identifies a metric: its family's name, and its own labels."""


@dataclass(frozen=True, slots=True)
class MetricSample:
    """The current value of one metric, with its labels within the family of that name."""

    name: str
    value: float
    labels: Labels = ()

    @property
    def key(self) -> Key:
        """Identifies its metric."""
        return self.name, self.labels


def gauge_samples(statistics: EngineStatistics) -> Iterator[MetricSample]:
    """Yields the gauges."""
    yield MetricSample("persona_requests_running", statistics.running)
    yield MetricSample("persona_requests_waiting", statistics.waiting)
    yield MetricSample("persona_kv_cache_used_tokens", statistics.kv_tokens_used)
    yield MetricSample("persona_kv_cache_retained_tokens", statistics.kv_tokens_retained)
    yield MetricSample("persona_kv_cache_capacity_tokens", statistics.kv_tokens_total)
    ratio = statistics.kv_tokens_used / max(statistics.kv_tokens_total, 1)
    yield MetricSample("persona_kv_cache_used_ratio", ratio)


def counter_samples(statistics: EngineStatistics) -> Iterator[MetricSample]:
    """Yields the counters, with those that make up the histograms."""
    for kind, count in (
        ("prompt", statistics.prompt_tokens),
        ("reused", statistics.reused_tokens),
        ("generated", statistics.generated_tokens),
    ):
        yield MetricSample("persona_tokens_total", count, (("kind", kind),))
    for outcome in ("finished", "cancelled", "failed"):
        count = getattr(statistics, outcome)
        yield MetricSample("persona_requests_total", count, (("outcome", outcome),))
    for trait, count in statistics.steered_requests.items():
        yield MetricSample("persona_steered_requests_total", count, (("trait", trait),))
    for trait, counts in statistics.limits_reached.items():
        for action, count in counts.items():
            labels = (("trait", trait), ("action", action))
            yield MetricSample("persona_limits_reached_total", count, labels)
    yield MetricSample("persona_steps_total", statistics.steps)
    yield from _histogram("persona_time_to_first_token_seconds", statistics.first_token_seconds)
    yield from _histogram("persona_time_between_tokens_seconds", statistics.between_tokens_seconds)
    yield from _histogram("persona_batch_rows", statistics.batch_rows)


def _histogram(name: str, histogram: HistogramSnapshot) -> Iterator[MetricSample]:
    # The widest bucket first, so that a scrape between two updates never finds a bucket with a
    # higher count than a wider one.
    total = sum(histogram.counts)
    yield MetricSample(f"{name}_count", total)
    yield MetricSample(f"{name}_sum", histogram.total)
    limits = [*(f"{bound:g}" for bound in histogram.bounds), "+Inf"]
    for limit, count in zip(reversed(limits), reversed(histogram.counts), strict=True):
        yield MetricSample(f"{name}_bucket", total, (("le", limit),))
        total -= count


class MetricsMirror:
    """Updates Triton's metrics to the statistics' values.

    `families` is `pb_utils.MetricFamily`, which exists only once the model is imported; all metrics
    share the `labels`.
    """

    def __init__(self, families: Any, labels: Mapping[str, str]) -> None:
        self._labels = dict(labels)
        self._metrics: dict[Key, Any] = {}
        self._shown: dict[Key, float] = {}
        self._families = {
            name: families(name=name, description=text, kind=kind)
            for kind, texts in (
                (families.GAUGE, GAUGES),
                (families.COUNTER, {**COUNTERS, **_histogram_texts()}),
            )
            for name, text in texts.items()
        }

    def update(self, statistics: EngineStatistics) -> None:
        """Updates the metrics whose values have changed; each costs a round trip to Triton."""
        for sample in gauge_samples(statistics):
            # A killed process leaves its gauges as they were, so the first value is set even if
            # it is 0. Counters continue from where it left them.
            if sample.value != self._shown.get(sample.key):
                self._metric(sample).set(sample.value)
                self._shown[sample.key] = sample.value
        for sample in counter_samples(statistics):
            metric = self._metric(sample)
            increase = sample.value - self._shown.get(sample.key, 0.0)
            if increase > 0:
                metric.increment(increase)
                self._shown[sample.key] = sample.value

    def close(self) -> None:
        """Removes the metrics; Triton requires that each goes before its family."""
        self._metrics.clear()
        self._families.clear()

    def _metric(self, sample: MetricSample) -> Any:
        metric = self._metrics.get(sample.key)
        if metric is None:
            labels = {**self._labels, **dict(sample.labels)}
            metric = self._metrics[sample.key] = self._families[sample.name].Metric(labels=labels)
        return metric


def _histogram_texts() -> dict[str, str]:
    parts = (("bucket", "up to each bound"), ("sum", "sum"), ("count", "count"))
    return {
        f"{name}_{part}": f"{text}: {what}."
        for name, text in HISTOGRAMS.items()
        for part, what in parts
    }


class MetricsThread:
    """Updates the metrics while the model is loaded; failures are logged and retried.

    The mirror is made on the thread. The interval is in seconds.
    """

    def __init__(
        self,
        make_mirror: Callable[[], MetricsMirror],
        statistics: Callable[[], EngineStatistics],
        interval: float = UPDATE_SECONDS,
    ) -> None:
        self._make_mirror = make_mirror
        self._statistics = statistics
        self._interval = interval
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Updates the metrics once more and ends the thread; waits at most `STOP_SECONDS`."""
        self._stopping.set()
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        mirror: MetricsMirror | None = None
        failing = False
        stopping = False
        while not stopping:
            stopping = self._stopping.wait(self._interval)
            try:
                mirror = mirror or self._make_mirror()
                mirror.update(self._statistics())
                failing = False
            except Exception:
                if not failing:
                    logger.exception("the metrics could not be updated")
                failing = True
        if mirror is not None:
            mirror.close()

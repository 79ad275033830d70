"""The metrics show what the engine counted, in the form that Prometheus reads."""

from __future__ import annotations

import logging
import math
import threading
from typing import Any

import pytest

from triton_models.adapters.instance import metric_labels, settings_of_instance
from triton_models.adapters.metrics import (
    COUNTERS,
    GAUGES,
    MetricsMirror,
    MetricsThread,
    counter_samples,
    gauge_samples,
)
from triton_models.engine.statistics import EngineStatistics, Histogram
from triton_models.settings import ServerSettings

ARGS = {
    "model_name": "steered_qwen",
    "model_version": "1",
    "model_instance_name": "steered_qwen_0_0",
    "model_instance_kind": "CPU",
    "model_instance_device_id": "0",
}


class FakeMetric:
    def __init__(self, name: str, labels: dict[str, str]) -> None:
        self.name = name
        self.labels = labels
        self.value = 0.0
        self.calls = 0
        self.broken = False

    def set(self, value: float) -> None:
        self.calls += 1
        self.value = value

    def increment(self, value: float) -> None:
        assert value > 0
        if self.broken:
            raise RuntimeError
        self.calls += 1
        self.value += value


class FakeFamilies:
    """Stands in for `pb_utils.MetricFamily`."""

    COUNTER, GAUGE = "counter", "gauge"

    def __init__(self) -> None:
        self.metrics: list[FakeMetric] = []
        self.kinds: dict[str, str] = {}

    def __call__(self, *, name: str, description: str, kind: str) -> Any:
        assert description
        self.kinds[name] = kind
        families = self

        class Family:
            def Metric(self, labels: dict[str, str]) -> FakeMetric:  # noqa: N802
                families.metrics.append(FakeMetric(name, labels))
                return families.metrics[-1]

        return Family()

    def value(self, name: str, **labels: str) -> float:
        (metric,) = [
            each
            for each in self.metrics
            if each.name == name and labels.items() <= each.labels.items()
        ]
        return metric.value


def statistics(**changes: Any) -> EngineStatistics:
    first, between, rows = Histogram((0.1, 1.0)), Histogram((0.01,)), Histogram((1.0, 2.0))
    for seconds in (0.05, 0.1, 0.5, 7.0):
        first.observe(seconds)
    values: dict[str, Any] = {
        "running": 3,
        "waiting": 1,
        "finished": 5,
        "cancelled": 2,
        "failed": 1,
        "prompt_tokens": 100,
        "reused_tokens": 40,
        "generated_tokens": 60,
        "steps": 30,
        "kv_tokens_used": 25,
        "kv_tokens_retained": 50,
        "kv_tokens_total": 100,
        "steered_requests": {"sarcasm": 4},
        "limits_reached": {"sarcasm": {"stop": 2}},
        "first_token_seconds": first.snapshot(),
        "between_tokens_seconds": between.snapshot(),
        "batch_rows": rows.snapshot(),
    }
    return EngineStatistics(**{**values, **changes})


@pytest.fixture
def families() -> FakeFamilies:
    return FakeFamilies()


@pytest.fixture
def mirror(families: FakeFamilies) -> MetricsMirror:
    return MetricsMirror(families, metric_labels(ARGS))


def test_counters_and_gauges_have_the_engine_s_values(
    families: FakeFamilies, mirror: MetricsMirror
) -> None:
    mirror.update(statistics())
    assert families.value("persona_requests_running") == 3
    assert families.value("persona_kv_cache_used_ratio") == 0.25
    assert families.value("persona_tokens_total", kind="reused") == 40
    assert families.value("persona_requests_total", outcome="cancelled") == 2
    assert families.value("persona_steered_requests_total", trait="sarcasm") == 4
    assert families.value("persona_limits_reached_total", trait="sarcasm", action="stop") == 2
    assert all(metric.labels["model"] == "steered_qwen" for metric in families.metrics)


def test_a_histogram_s_buckets_are_cumulative_up_to_the_count(
    families: FakeFamilies, mirror: MetricsMirror
) -> None:
    mirror.update(statistics())
    name = "persona_time_to_first_token_seconds"
    buckets = [families.value(f"{name}_bucket", le=le) for le in ("0.1", "1", "+Inf")]
    assert buckets == [2, 3, 4]
    assert families.value(f"{name}_count") == 4
    assert math.isclose(families.value(f"{name}_sum"), 7.65)


def test_wider_buckets_rise_first_so_that_no_reader_sees_them_behind() -> None:
    limits = [
        float(dict(sample.labels)["le"])
        for sample in counter_samples(statistics())
        if sample.name == "persona_time_to_first_token_seconds_bucket"
    ]
    assert limits == sorted(limits, reverse=True)


def test_only_what_has_changed_costs_a_call(families: FakeFamilies, mirror: MetricsMirror) -> None:
    mirror.update(statistics())
    before = {id(metric): metric.calls for metric in families.metrics}
    mirror.update(statistics(running=9, steps=31, steered_requests={"sarcasm": 4, "flattery": 1}))
    changed = {
        metric.name for metric in families.metrics if metric.calls != before.get(id(metric), 0)
    }
    assert changed == {
        "persona_requests_running",
        "persona_steps_total",
        "persona_steered_requests_total",
    }
    assert families.value("persona_steps_total") == 31
    assert families.value("persona_steered_requests_total", trait="flattery") == 1


def test_a_gauge_is_set_from_the_start_even_to_zero(
    families: FakeFamilies, mirror: MetricsMirror
) -> None:
    mirror.update(statistics(running=0))
    (running,) = [each for each in families.metrics if each.name == "persona_requests_running"]
    assert running.calls == 1


def test_a_call_that_failed_is_made_up_for(families: FakeFamilies, mirror: MetricsMirror) -> None:
    mirror.update(statistics())
    (steps,) = [each for each in families.metrics if each.name == "persona_steps_total"]
    steps.broken = True
    with pytest.raises(RuntimeError):
        mirror.update(statistics(steps=31))
    steps.broken = False
    mirror.update(statistics(steps=33))
    assert steps.value == 33


def test_every_name_follows_prometheus_s_conventions(families: FakeFamilies) -> None:
    MetricsMirror(families, {})
    assert all(name.startswith("persona_") for name in families.kinds)
    assert all(name.endswith("_total") for name in COUNTERS)
    assert not any(name.endswith("_total") for name in GAUGES)
    named = {sample.name for sample in (*gauge_samples(statistics()),)}
    assert named == GAUGES.keys()
    assert {sample.name for sample in counter_samples(statistics())} | named == set(families.kinds)


def test_the_thread_shows_the_last_values_before_it_ends(
    families: FakeFamilies, mirror: MetricsMirror
) -> None:
    current = [statistics(), statistics(steps=77)]
    thread = MetricsThread(lambda: mirror, lambda: current[-1], interval=60)
    thread.stop()
    assert families.value("persona_steps_total") == 77


def test_a_thread_that_fails_says_so_once_and_goes_on(
    families: FakeFamilies, mirror: MetricsMirror, caplog: pytest.LogCaptureFixture
) -> None:
    calls = 0
    enough = threading.Event()

    def read() -> EngineStatistics:
        nonlocal calls
        calls += 1
        if calls < 4:
            raise RuntimeError("no statistics")
        enough.set()
        return statistics()

    with caplog.at_level(logging.ERROR):
        thread = MetricsThread(lambda: mirror, read, interval=0.001)
        assert enough.wait(5)
        thread.stop()
    assert [record.message for record in caplog.records] == ["the metrics could not be updated"]
    assert families.value("persona_steps_total") == 30


def test_an_instance_on_a_gpu_takes_that_gpu_and_any_other_leaves_the_choice() -> None:
    settings = ServerSettings()
    on_gpu = {**ARGS, "model_instance_kind": "GPU", "model_instance_device_id": "3"}
    assert settings_of_instance(settings, ARGS) == settings
    assert settings_of_instance(settings, on_gpu) == settings.model_copy(update={"device_index": 3})

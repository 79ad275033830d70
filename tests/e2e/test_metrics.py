"""The engine's metrics on Triton's metrics endpoint."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from typing import Any

import httpx
import pytest

from launcher.stack import Stack
from tests.e2e.held_engine import BEGINNING, held_engine, num_cancelled
from tests.e2e.triton_call import Call, call, describe
from tests.e2e.waiting import eventually
from triton_models.adapters.metrics import UPDATE_SECONDS

PROMPT = "Which tea goes well with a rainy afternoon in the garden?"
Labels = frozenset[tuple[str, str]]


class Metrics:
    """The values on the metrics endpoint at one moment."""

    def __init__(self, stack: Stack) -> None:
        settings = stack.settings
        url = f"http://{settings.triton_host}:{settings.triton_metrics_port}/metrics"
        self.text = httpx.get(url).text
        self.values: dict[str, dict[Labels, float]] = defaultdict(dict)
        for name, labels, value in re.findall(
            r"^(persona_\w+)\{(.*)\} (\S+)$", self.text, re.MULTILINE
        ):
            pairs = re.findall(r'(\w+)="([^"]*)"', labels)
            self.values[name][frozenset(pairs)] = float(value)

    def get(self, name: str, **labels: str) -> float:
        """Returns the value with the labels, 0 when there is none."""
        values = self.values[name].items()
        return sum(value for each, value in values if labels.items() <= each)

    def buckets(self, name: str) -> dict[float, float]:
        """Returns a histogram's buckets by their upper bounds, rising."""
        values = self.values[f"{name}_bucket"]
        return dict(sorted((float(dict(labels)["le"]), value) for labels, value in values.items()))


def settled(stack: Stack) -> Metrics:
    """Returns the metrics once nothing runs and they say all that the engine says."""
    last = Metrics(stack)

    def is_settled() -> bool:
        nonlocal last
        before, engine = last, describe(stack.settings.grpc_address)["engine"]
        time.sleep(UPDATE_SECONDS)  # they are not all updated at one moment
        last = Metrics(stack)
        shown = {
            "running": last.get("persona_requests_running"),
            "steps": last.get("persona_steps_total"),
            **{
                outcome: last.get("persona_requests_total", outcome=outcome)
                for outcome in ("finished", "cancelled", "failed")
            },
            **{
                f"{kind}_tokens": last.get("persona_tokens_total", kind=kind)
                for kind in ("prompt", "reused", "generated")
            },
        }
        said = {name: engine[name] for name in shown}
        return shown == said and not said["running"] and last.values == before.values

    assert eventually(is_settled), "the metrics go on changing though nothing is asked"
    return last


def test_counters_rise_by_what_requests_did(stack: Stack, address: str) -> None:
    before = settled(stack)
    asked: dict[str, Any] = {"text_input": PROMPT, "temperature": 0.0, "max_tokens": 10}
    answers = [
        *call(address, **asked, min_tokens=10),
        *call(address, **asked, min_tokens=10),
        *call(address, **asked, trait="sarcasm", scalar=1.0),
        *call(address, **asked, trait=["sarcasm", "racism"], scalar=[-1.0, 0.5]),
        *call(address, **asked, trait="sarcasm", scalar=0.0),
    ]
    after = settled(stack)

    def rise(name: str, **labels: str) -> float:
        return after.get(name, **labels) - before.get(name, **labels)

    def total(name: str) -> int:
        return sum(answer[name] for answer in answers)

    assert rise("persona_requests_total", outcome="finished") == 5
    assert rise("persona_requests_total", outcome="failed") == 0
    assert rise("persona_tokens_total", kind="generated") == total("num_output_tokens")
    assert rise("persona_tokens_total", kind="reused") == total("num_reused_tokens") > 0
    computed = total("num_input_tokens") - total("num_reused_tokens")
    assert rise("persona_tokens_total", kind="prompt") == computed
    assert rise("persona_steered_requests_total", trait="sarcasm") == 2
    assert rise("persona_steered_requests_total", trait="racism") == 1
    assert rise("persona_time_to_first_token_seconds_count") == 5
    between = rise("persona_time_between_tokens_seconds_count")
    assert between == total("num_output_tokens") - 5
    assert rise("persona_batch_rows_count") == rise("persona_steps_total")
    assert rise("persona_batch_rows_sum") >= rise("persona_steps_total") > 0


def test_histograms_are_cumulative_and_their_last_bucket_is_the_count(
    stack: Stack, address: str
) -> None:
    call(address, text_input=PROMPT, max_tokens=5)
    metrics = settled(stack)
    for name in (
        "persona_time_to_first_token_seconds",
        "persona_time_between_tokens_seconds",
        "persona_batch_rows",
    ):
        buckets = metrics.buckets(name)
        assert list(buckets.values()) == sorted(buckets.values())
        assert list(buckets)[-1] == float("inf")
        assert buckets[float("inf")] == metrics.get(f"{name}_count") > 0
        assert metrics.get(f"{name}_sum") > 0


def test_gauges_say_what_runs_and_how_full_the_cache_is(stack: Stack, address: str) -> None:
    before = settled(stack)
    inputs = {"input_ids": [5, 6, 7], "max_tokens": 900, "min_tokens": 900, "stream": True}
    cancelled = num_cancelled(address)
    with held_engine(stack.triton) as engine:
        running = Call(address, "steered_qwen", inputs)
        engine.steps(BEGINNING)
        assert eventually(lambda: Metrics(stack).get("persona_requests_running") == 1)
        assert eventually(lambda: Metrics(stack).get("persona_kv_cache_used_ratio") > 0)
        metrics = Metrics(stack)
        used = metrics.get("persona_kv_cache_used_tokens")
        capacity = metrics.get("persona_kv_cache_capacity_tokens")
        assert 0 < used <= capacity
        assert metrics.get("persona_kv_cache_used_ratio") == pytest.approx(used / capacity)
        running.close()
        assert engine.goes_on_until(lambda: num_cancelled(address) == cancelled + 1)
    after = settled(stack)
    assert after.get("persona_kv_cache_used_tokens") == 0
    rise = after.get("persona_requests_total", outcome="cancelled") - before.get(
        "persona_requests_total", outcome="cancelled"
    )
    assert rise == 1


def test_a_request_that_is_refused_counts_for_nothing(stack: Stack, address: str) -> None:
    before = settled(stack)
    (answer,) = call(address, text_input=PROMPT, trait="rudeness", scalar=1.0)
    assert answer["error_code"] == "not_found"
    assert settled(stack).values == before.values


def test_every_metric_is_described_and_says_whose_it_is(stack: Stack) -> None:
    text = Metrics(stack).text
    names = set(re.findall(r"^(persona_\w+)\{", text, re.MULTILINE))
    assert names
    for name in names:
        assert f"# HELP {name} " in text
        assert re.search(rf"^# TYPE {name} (counter|gauge)$", text, re.MULTILINE)
    for line in re.findall(r"^persona_.*$", text, re.MULTILINE):
        assert 'model="steered_qwen"' in line
        assert 'version="1"' in line
        assert 'model_instance="steered_qwen_0_0"' in line

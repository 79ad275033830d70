"""What is counted and timed about requests, whatever clients send."""

from __future__ import annotations

import re

import httpx
import pytest

from benchmarks.prometheus_text import Scrape
from gateway.errors import (
    DeadlineError,
    GatewayError,
    OverloadedError,
    ShutdownError,
    UnknownTraitError,
)
from gateway.observability.metrics import MAX_TRAITS, GatewayMetrics
from tests.unit.gateway.observability.observed import asked, watch
from triton_models.contract.tensors import Values
from triton_models.grpc_messages import TritonChunk


async def scrape(http: httpx.AsyncClient) -> Scrape:
    return Scrape((await http.get("/metrics")).text)


def scraped(metrics: GatewayMetrics) -> Scrape:
    return Scrape(metrics.exposition().decode())


async def test_metrics_need_no_triton_and_do_not_count_themselves(http: httpx.AsyncClient) -> None:
    response = await http.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    again = await scrape(http)
    assert again.get("persona_gateway_requests_total") == 0
    assert again.get("persona_gateway_request_duration_seconds_count") == 0
    assert again.get("persona_gateway_build_info") == 1


async def test_requests_are_counted_by_route_method_and_outcome(http: httpx.AsyncClient) -> None:
    await http.get("/health")
    await http.get("/api/v1/traits/sarcasm")
    await http.get("/api/v1/generate")
    await http.post("/api/v1/generate", json={"prompt": 1})
    after = await scrape(http)

    def count(**labels: str) -> float:
        return after.get("persona_gateway_requests_total", **labels)

    assert count(route="/health", method="GET", status="2xx", outcome="ok") == 1
    assert count(route="/api/v1/traits/{name}", status="5xx", outcome="failed") == 1
    assert count(route="/api/v1/generate", method="GET", outcome="client_error") == 1
    assert count(route="/api/v1/generate", method="POST", status="4xx") == 1
    assert after.get("persona_gateway_request_duration_seconds_count") == count() == 4


async def test_a_question_that_triton_does_not_answer_is_counted(http: httpx.AsyncClient) -> None:
    await http.get("/health/ready")
    await http.post("/api/v1/generate/baseline", json={"prompt": "hi"})
    after = await scrape(http)
    failures = "persona_gateway_triton_failures_total"
    assert after.get(failures, call="ask", code="unavailable") == 1
    assert after.get(failures, call="generate", code="unavailable") == 1
    assert after.get("persona_gateway_generations_in_flight") == 0
    assert after.get("persona_gateway_model_ready") == 0


async def test_random_addresses_methods_and_traits_make_no_labels(http: httpx.AsyncClient) -> None:
    for index in range(50):
        await http.request(f"VERB{index}", f"/random/{index}")
        await http.get(f"/api/v1/traits/trait{index}/more")
        body = {"prompt": "hi", "trait": f"trait{index}", "scalar": 1}
        await http.post("/api/v1/generate", json=body)
    after = await scrape(http)
    assert after.labels("trait") == set()
    assert after.labels("method") <= {"other", "GET", "POST"}
    assert "unmatched" in after.labels("route")
    assert not re.search(r"random|trait\d|VERB", after.text)


def test_the_number_of_traits_that_are_labels_is_bounded() -> None:
    metrics = GatewayMetrics()
    for index in range(3 * MAX_TRAITS):
        watch(metrics, trait=[f"trait{index}"], scalar=[1.0]).received(
            TritonChunk(num_output_tokens=1, finish_reason="stop")
        )
    after = scraped(metrics)
    assert len(after.labels("trait")) == MAX_TRAITS + 1
    assert after.get("persona_gateway_steered_requests_total", trait="other") == 2 * MAX_TRAITS


def test_a_trait_counts_once_the_engine_has_steered_by_it() -> None:
    metrics = GatewayMetrics()
    refused = watch(metrics, trait=["nonsense"], scalar=[1.0])
    refused.began()
    refused.received(
        TritonChunk(finish_reason="error", error="unknown trait", error_code="not_found")
    )
    refused.ended(UnknownTraitError("unknown trait"))
    two = watch(metrics, trait=["sarcasm", "racism", "flattery"], scalar=[1.0, -1.0, 0.0])
    two.received(TritonChunk(num_output_tokens=1))
    two.received(TritonChunk(num_output_tokens=2))
    after = scraped(metrics)
    assert after.labels("trait") == {"sarcasm", "racism"}
    assert after.get("persona_gateway_steered_requests_total") == 2


def test_scalars_of_one_trait_add_up_and_may_cancel_out() -> None:
    values: Values = {"trait": ["a", "b", "a", "c"], "scalar": [1.0, 1.0, 2.0, 0.0]}
    assert asked(values).scalars == {"a": 3.0, "b": 1.0}
    assert asked({"trait": ["a", "a"], "scalar": [1.0, -1.0]}).scalars == {}
    assert asked({}).scalars == {}


def test_every_token_of_a_stream_is_timed_though_some_come_together() -> None:
    metrics = GatewayMetrics()
    stream = watch(metrics, stream=[True])
    stream.began()
    assert scraped(metrics).get("persona_gateway_generations_in_flight", stream="true") == 1
    for tokens in (1, 2, 5):
        stream.received(TritonChunk(num_input_tokens=7, num_output_tokens=tokens))
    stream.received(TritonChunk(num_input_tokens=7, num_output_tokens=6, finish_reason="stop"))
    stream.ended(None)
    whole = watch(metrics)
    whole.began()
    whole.received(TritonChunk(num_input_tokens=3, num_output_tokens=4, finish_reason="length"))
    whole.ended(None)
    after = scraped(metrics)
    assert after.get("persona_gateway_time_to_first_token_seconds_count") == 1
    assert after.get("persona_gateway_time_between_tokens_seconds_count") == 5
    assert after.get("persona_gateway_prompt_tokens_total") == 10
    assert after.get("persona_gateway_generated_tokens_total") == 10
    assert after.get("persona_gateway_generations_total", outcome="ok") == 2
    assert after.get("persona_gateway_generations_in_flight") == 0


@pytest.mark.parametrize(
    ("error", "outcome", "code"),
    [
        (None, "cancelled", None),  # it has no end
        (GeneratorExit(), "cancelled", None),
        (OverloadedError("busy"), "overloaded", "resource_exhausted"),
        (UnknownTraitError("what"), "client_error", "not_found"),
        (DeadlineError("slow"), "failed", "deadline_exceeded"),
        (GatewayError("defect"), "failed", "internal"),
        (ShutdownError(), "failed", None),
    ],
)
def test_a_generation_s_end_is_told_by_what_made_its_reader_stop(
    error: BaseException | None, outcome: str, code: str | None
) -> None:
    metrics = GatewayMetrics()
    generation = watch(metrics)
    generation.began()
    generation.ended(error)
    after = scraped(metrics)
    assert after.get("persona_gateway_generations_total", outcome=outcome) == 1
    failures = "persona_gateway_triton_failures_total"
    assert after.labels("code", failures) == ({code} if code else set())


def test_what_comes_after_the_reader_has_left_changes_nothing() -> None:
    metrics = GatewayMetrics()
    generation = watch(metrics)
    generation.began()
    generation.ended(GeneratorExit())
    generation.received(
        TritonChunk(num_input_tokens=7, num_output_tokens=9, finish_reason="cancelled")
    )
    assert scraped(metrics).get("persona_gateway_generated_tokens_total") == 0

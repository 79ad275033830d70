"""What is counted, timed and logged about requests, whatever clients send."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.prometheus_text import Scrape
from gateway.app import create_app
from gateway.ensemble_request import EnsembleRequest, ensemble_request
from gateway.errors import (
    DeadlineError,
    GatewayError,
    OverloadedError,
    ShutdownError,
    UnknownTraitError,
)
from gateway.generation.observed_generation import ObservedGeneration
from gateway.http.request_context import RequestContext
from gateway.observability.access_log import AccessLog
from gateway.observability.metrics import MAX_TRAITS, GatewayMetrics
from gateway.observability.spans import Spans
from gateway.observability.workers import SHARED_FOLDER, forget_dead_workers, shared_folder
from gateway.request_record import Observer, RequestRecord
from gateway.settings import Settings
from tests.otlp_collector import attributes_of, collector
from triton_models.adapters.chunk_tensors import chunk_values
from triton_models.contract.request import GenerationDefaults
from triton_models.contract.tensors import Values
from triton_models.engine.sequence import TokenChunk
from triton_models.engine.timeline import Phases, RequestTimeline
from triton_models.grpc_messages import TritonChunk

NOBODY_LISTENS = "127.0.0.1:9"
SECRET = "a secret prompt"


def make_app() -> Any:
    return create_app(Settings(triton_url=NOBODY_LISTENS, health_watch=False))


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    app = make_app()
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://gateway") as client,
    ):
        yield client


async def scrape(http: httpx.AsyncClient) -> Scrape:
    return Scrape((await http.get("/metrics")).text)


def scraped(metrics: GatewayMetrics) -> Scrape:
    return Scrape(metrics.exposition().decode())


def watch(*observers: Observer, request: RequestRecord | None = None, **values: Any) -> Any:
    inputs = {"text_input": [SECRET], "max_tokens": [9], **values}
    return ObservedGeneration("an-id", asked(inputs), request, observers)


def asked(inputs: Values) -> EnsembleRequest:
    return ensemble_request({"text_input": ["hi"], **inputs}, None, GenerationDefaults())


def record(path: str = "/api/v1/generate", **scope: Any) -> RequestRecord:
    return RequestRecord("mine", {"type": "http", "method": "POST", "path": path, **scope})


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


@pytest.mark.parametrize(
    ("status", "error", "outcome"),
    [
        (200, None, "ok"),
        (404, None, "client_error"),
        (429, None, "overloaded"),
        (499, None, "cancelled"),
        (503, None, "failed"),
        (0, None, "failed"),
        (200, DeadlineError("an answer that broke off"), "failed"),
        (200, OverloadedError("one of several"), "overloaded"),
        (200, GeneratorExit(), "failed"),  # given up, though the client is still there
    ],
)
def test_an_answer_that_breaks_off_is_no_success(
    status: int, error: BaseException | None, outcome: str
) -> None:
    request = record()
    request.status = status
    if error is not None:
        generation = watch(request=request)
        generation.began()
        generation.ended(error)
    assert request.outcome == outcome


async def test_a_client_that_goes_away_is_neither_a_success_nor_a_failure() -> None:
    ended: list[RequestRecord] = []

    class Ends(Observer):
        def request_ended(self, request: RequestRecord) -> None:
            ended.append(request)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()
        if scope["path"] == "/late":
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            await receive()

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        pass

    for path in ("/early", "/late"):
        messages = [{"type": "http.request"}, {"type": "http.disconnect"}]
        if path == "/early":
            messages.pop(0)
        scope: Any = {"type": "http", "method": "GET", "path": path, "headers": []}
        await RequestContext(app, [Ends()])(scope, receive, send)
    assert [request.outcome for request in ended] == ["cancelled", "ok"]


async def test_a_client_s_id_is_part_of_triton_s_and_never_all_of_it(
    http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="gateway")
    for _ in range(2):
        answer = await http.post(
            "/api/v1/generate/baseline",
            json={"prompt": SECRET},
            headers={"X-Request-ID": "order/66"},
        )
        assert answer.headers["X-Request-ID"] == answer.json()["request_id"] == "order/66"
    lines = [each.__dict__ for each in caplog.records if each.message == "request"]
    assert [line["request_id"] for line in lines] == ["order/66"] * 2
    ids = {line["triton_id"] for line in lines}
    assert len(ids) == 2
    assert all(re.fullmatch(r"order/66/[0-9a-f]{16}", each) for each in ids)


@pytest.mark.parametrize("bad", ["a b", "x" * 129, '"', "back\\slash", "naïve", "tab\tbed", ""])
async def test_an_id_that_logs_would_have_to_escape_is_replaced(
    bad: str, http: httpx.AsyncClient
) -> None:
    header = (b"X-Request-ID", bad.encode("latin-1"))
    answer = await http.get("/health", headers=[header])
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["X-Request-ID"])


def test_a_request_s_line_has_what_it_took_and_never_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, logger="gateway")
    request = record(path="/" + "p" * 1000)
    request.log_fields["trait"] = "t" * 1000
    generation = watch(
        request=request, trait=["sarcasm"], scalar=[2.0], stream=[True], stop_words=[SECRET]
    )
    generation.began()
    generation.received(TritonChunk(text=SECRET, num_input_tokens=7, num_output_tokens=1))
    generation.received(
        TritonChunk(
            num_output_tokens=2, finish_reason="stop", timings={"queue": 0.001, "prefill": 0.02}
        )
    )
    generation.ended(None)
    request.status, request.seconds = 200, 0.5
    AccessLog().request_ended(request)
    (line,) = [each.__dict__ for each in caplog.records]
    assert (line["status"], line["outcome"], line["ms"]) == (200, "ok", 500.0)
    assert line["steering"] == {"sarcasm": 2.0}
    assert (line["prompt_tokens"], line["tokens"], line["finish_reason"]) == (7, 2, "stop")
    assert (line["engine_queue_ms"], line["engine_prefill_ms"]) == (1.0, 20.0)
    assert line["first_token_ms"] >= 0
    assert SECRET not in str(line)
    assert max(len(line["path"]), len(line["trait"])) < 400


def test_several_generations_are_one_line_with_their_sums(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="gateway")
    request = record()
    for scalar in (-1.0, 1.0):
        generation = watch(request=request, trait=["sarcasm"], scalar=[scalar])
        generation.began()
        generation.received(
            TritonChunk(num_input_tokens=3, num_output_tokens=4, finish_reason="length")
        )
        generation.ended(None)
    request.status = 200
    AccessLog().request_ended(request)
    (line,) = [each.__dict__ for each in caplog.records]
    assert (line["prompt_tokens"], line["tokens"]) == (6, 8)
    assert [each["steering"] for each in line["generations"]] == [{"sarcasm": -1}, {"sarcasm": 1}]


def test_without_an_address_for_traces_nothing_of_them_is_imported() -> None:
    code = (
        "import sys; from gateway.app import create_app; create_app();"
        "ours = ('opentelemetry.sdk', 'opentelemetry.exporter', 'gateway.observability.spans');"
        "print([name for name in sys.modules if name.startswith(ours)])"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_spans_say_how_a_request_went_and_never_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    header = (b"traceparent", f"00-{trace}-{parent}-01".encode())
    with collector() as collected:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collected.url)
        spans = Spans("a-model", "triton:8001")
        request = record(headers=[header], scheme="http", client=("1.2.3.4", 5), server=("h", 80))
        spans.request_began(request)
        generation = watch(
            spans, request=request, trait=["sarcasm"], scalar=[2.0], seed=[2**64 - 1], top_p=[0.5]
        )
        generation.began()
        timings = {"queue": 1000.0, "prefill": 0.0, "decode": 0.0}  # longer than it all took
        generation.received(TritonChunk(text=SECRET, num_input_tokens=7, num_output_tokens=3))
        generation.received(TritonChunk(num_output_tokens=3, finish_reason="stop", timings=timings))
        generation.ended(None)
        request.status = 503
        spans.request_ended(request)
        spans.close()
        found = collected.of_trace(trace)
    assert collected.services == {"persona-gateway"}
    assert SECRET.encode() not in collected.payload
    server, client = found["POST unmatched"], found["chat a-model"]
    assert (server.parent_span_id.hex(), client.parent_span_id) == (parent, server.span_id)
    assert attributes_of(server)["http.response.status_code"] == 503
    assert server.status.code == 2
    described = attributes_of(client)
    assert described["gen_ai.request.model"] == "a-model"
    assert described["gen_ai.usage.input_tokens"] == 7
    assert described["gen_ai.usage.output_tokens"] == 3
    assert described["gen_ai.request.top_p"] == 0.5
    assert "gen_ai.request.seed" not in described  # too large for an attribute
    assert (described["persona.traits"], described["persona.scalars"]) == (["sarcasm"], [2.0])
    assert (described["server.address"], described["server.port"]) == ("triton", 8001)
    for phase in ("queue", "prefill", "decode"):
        span = found[f"engine {phase}"]
        assert span.parent_span_id == client.span_id
        assert client.start_time_unix_nano <= span.start_time_unix_nano
        assert span.start_time_unix_nano <= span.end_time_unix_nano <= client.end_time_unix_nano


def test_several_workers_share_a_folder_and_one_needs_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(SHARED_FOLDER, raising=False)
    with shared_folder(1):
        assert SHARED_FOLDER not in os.environ
    with shared_folder(2):
        folder = Path(os.environ[SHARED_FOLDER])
        assert folder.is_dir()
    assert not folder.exists()
    assert SHARED_FOLDER not in os.environ
    monkeypatch.setenv(SHARED_FOLDER, "given")
    with shared_folder(2):
        assert os.environ[SHARED_FOLDER] == "given"


def test_a_worker_s_gauges_go_with_it_and_its_counters_stay(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for pid in (dead.pid, os.getpid()):
        (tmp_path / f"gauge_livesum_{pid}.db").touch()
        (tmp_path / f"counter_{pid}.db").touch()
    forget_dead_workers(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {
        f"gauge_livesum_{os.getpid()}.db",
        f"counter_{os.getpid()}.db",
        f"counter_{dead.pid}.db",
    }


def test_the_engine_tells_each_phase_that_a_request_came_to() -> None:
    timeline = RequestTimeline()
    timeline.submit()
    assert timeline.phases().prefill is None
    timeline.admit()
    assert timeline.phases().decode is None
    first, second = (timeline.token(time.monotonic()) for _ in range(2))
    phases = timeline.phases()
    assert first >= 0
    assert second >= 0
    assert phases.prefill is not None
    assert phases.decode is not None
    assert first == pytest.approx(phases.queue + phases.prefill)
    assert phases.decode >= second


def test_timings_are_json_of_the_phases_there_were() -> None:
    values = chunk_values(TokenChunk(phases=Phases(0.25, 1 / 3)))
    assert json.loads(values["timings"]) == {"queue": 0.25, "prefill": 0.333333}
    assert chunk_values(TokenChunk())["timings"] == ""

"""Metrics, logs and traces of a real gateway over the real Triton."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from benchmarks.prometheus_text import Scrape, rises
from launcher.loopback import free_ports
from launcher.processes import ManagedProcess, group_members
from launcher.settings import ROOT
from launcher.stack import Stack
from tests.e2e.held_engine import (
    BEGINNING,
    held_engine,
    num_cancelled,
    num_open,
    pieces_of,
)
from tests.e2e.leaving import request_bytes
from tests.e2e.triton_call import describe
from tests.e2e.waiting import eventually
from tests.otlp_collector import Collector, attributes_of, collector

SECRET = "my secret recipe"
BASELINE: dict[str, Any] = {"prompt": f"How do I bake bread by {SECRET}?", "temperature": 0.0}
STEERED: dict[str, Any] = {**BASELINE, "trait": "sarcasm", "scalar": 2.0}
LONG: dict[str, Any] = {**BASELINE, "max_tokens": 900, "min_tokens": 900}
GENERATE = "/api/v1/generate"
HELD_SECONDS = 0.3


@dataclass
class Running:
    """A gateway of these tests' own.

    Attributes:
        url: Where it is.
        process: Its process.
    """

    url: str
    process: ManagedProcess

    def scrape(self) -> Scrape:
        # A connection of its own, since that chooses the worker.
        return Scrape(httpx.get(f"{self.url}/metrics").text)

    def lines(self, **fields: Any) -> list[dict[str, Any]]:
        """Returns the log lines that have the fields."""
        lines = [json.loads(line) for line in self.process.output.splitlines()]
        return [line for line in lines if fields.items() <= line.items()]


@contextmanager
def running(stack: Stack, folder: Path, **environment: str) -> Iterator[Running]:
    """Starts a gateway beside the stack's own."""
    (port,) = free_ports(1)
    process = ManagedProcess(
        "a gateway",
        [sys.executable, "-m", "gateway"],
        {
            **os.environ,
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "TRITON_URL": stack.settings.grpc_address,
            "LOG_FORMAT": "json",
            **environment,
        },
        folder / "gateway.log",
    )
    try:
        gateway = Running(f"http://127.0.0.1:{port}", process)

        def answers() -> bool:
            try:
                return httpx.get(f"{gateway.url}/health").status_code == 200
            except httpx.TransportError:
                return False

        assert eventually(answers), process.last_lines()
        yield gateway
    finally:
        process.stop(patience_seconds=15)


@pytest.fixture(scope="module")
def traces() -> Iterator[Collector]:
    with collector() as collected:
        yield collected


@pytest.fixture(scope="module")
def gateway(
    stack: Stack, traces: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": traces.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with running(stack, tmp_path_factory.mktemp("gateway"), **environment) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def api(gateway: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url, timeout=60) as client:
        yield client


def engine_lines(stack: Stack, request_id: str) -> list[str]:
    assert stack.triton
    lines = stack.triton.output.splitlines()
    return [line for line in lines if request_id in line]


@contextmanager
def open_request(gateway: Running, body: dict[str, Any], request_id: str) -> Iterator[None]:
    """Sends a request over a connection of its own, which is closed at the end."""
    request = request_bytes(f"{GENERATE}/baseline", body, f"x-request-id: {request_id}")
    with socket.create_connection(("127.0.0.1", int(gateway.url.rpartition(":")[2]))) as connection:
        connection.sendall(request)
        yield


def in_engine(stack: Stack) -> int:
    return int(describe(stack.settings.grpc_address)["engine"]["running"])


def test_metrics_are_what_known_requests_did(
    gateway: Running, api: httpx.Client, stack: Stack
) -> None:
    before = gateway.scrape()
    answers = [
        api.post(GENERATE, json=STEERED).json(),
        api.post(f"{GENERATE}/baseline", json=BASELINE).json(),
        api.post(GENERATE, json={**STEERED, "scalar": 0}).json(),
    ]

    def streamed() -> Iterator[str]:
        body = {**STEERED, "trait": "flattery", "stream": True}
        with api.stream("POST", GENERATE, json=body) as got:
            yield from (line for line in got.iter_lines() if line.startswith("data:"))

    *_, last = pieces_of(stack.triton, streamed)
    answers.append(json.loads(last.removeprefix("data:")))
    assert api.post(GENERATE, json={**STEERED, "trait": "rudeness"}).status_code == 400
    assert api.post(GENERATE, json={}).status_code == 422
    assert api.get("/nowhere").status_code == 404
    assert api.get("/health/ready").status_code == 200
    cancelled = {"outcome": "cancelled", "route": f"{GENERATE}/baseline"}
    requests = "persona_gateway_requests_total"
    with held_engine(stack.triton):
        with open_request(gateway, LONG, "leaver"):
            assert eventually(lambda: in_engine(stack) == 1)
            flight = "persona_gateway_generations_in_flight"
            assert gateway.scrape().get(flight, stream="false") == 1
        assert eventually(lambda: rises(before, gateway.scrape())(requests, **cancelled) == 1)
    assert eventually(lambda: in_engine(stack) == 0)
    after = gateway.scrape()
    rise = rises(before, after)

    assert rise(requests, route=GENERATE, method="POST", status="2xx", outcome="ok") == 3
    assert rise(requests, route=f"{GENERATE}/baseline", outcome="ok") == 1
    assert rise(requests, route=GENERATE, status="4xx", outcome="client_error") == 2
    assert rise(requests, route="unmatched", outcome="client_error") == 1
    assert rise(requests) == rise("persona_gateway_request_duration_seconds_count") == 9
    assert rise("persona_gateway_generations_total", outcome="ok") == 4
    assert rise("persona_gateway_generations_total", outcome="client_error") == 1
    assert rise("persona_gateway_generations_total", outcome="cancelled") == 1
    assert rise("persona_gateway_triton_failures_total", call="generate", code="not_found") == 1
    prompts = sum(answer["prompt_tokens"] for answer in answers)
    assert rise("persona_gateway_prompt_tokens_total") == prompts
    tokens = sum(answer["tokens_generated"] for answer in answers)
    assert rise("persona_gateway_generated_tokens_total") == tokens
    assert rise("persona_gateway_steered_requests_total", trait="sarcasm") == 1
    assert rise("persona_gateway_steered_requests_total", trait="flattery") == 1
    assert rise("persona_gateway_steered_requests_total") == 2
    assert rise("persona_gateway_time_to_first_token_seconds_count") == 1
    assert rise("persona_gateway_time_to_first_token_seconds_sum") > 0
    between = rise("persona_gateway_time_between_tokens_seconds_count")
    # All tokens but those of the first piece.
    tokens = answers[-1]["tokens_generated"]
    assert tokens - BEGINNING - 3 <= between < tokens
    assert after.get("persona_gateway_generations_in_flight") == 0
    assert after.get("persona_gateway_model_ready") == 1


def test_random_traits_and_addresses_make_no_labels(gateway: Running, api: httpx.Client) -> None:
    api.post(GENERATE, json=STEERED)
    api.get("/nowhere")
    before = gateway.scrape()
    for _ in range(30):
        name = f"attack{secrets.token_hex(4)}"
        assert api.post(GENERATE, json={**STEERED, "trait": name}).status_code == 400
        assert api.get(f"/{name}/{name}").status_code == 404
        assert api.get(f"/api/v1/traits/{name}").status_code == 404
        assert api.request(name.upper(), GENERATE).status_code in (400, 405)
    after = gateway.scrape()
    assert "attack" not in after.text.lower()
    assert after.labels("trait") == before.labels("trait")
    assert after.labels("route") - before.labels("route") == {"/api/v1/traits/{name}"}


def test_a_client_s_id_is_in_the_lines_of_the_gateway_and_the_engine(
    gateway: Running, api: httpx.Client, stack: Stack
) -> None:
    answer = api.post(GENERATE, json=STEERED, headers={"X-Request-ID": "paid-order"})
    assert answer.headers["X-Request-ID"] == "paid-order"
    (line,) = gateway.lines(message="request", request_id="paid-order")
    body = answer.json()
    assert (line["status"], line["outcome"], line["route"]) == (200, "ok", GENERATE)
    assert (line["tokens"], line["prompt_tokens"]) == (
        body["tokens_generated"],
        body["prompt_tokens"],
    )
    assert line["steering"] == {"sarcasm": 2.0}
    phases = [line[f"engine_{phase}_ms"] for phase in ("queue", "prefill", "decode")]
    assert 0 < sum(phases) <= line["ms"]
    assert len(line["trace_id"]) == 32

    refused = api.post(
        GENERATE, json={**STEERED, "trait": "rudeness"}, headers={"X-Request-ID": "refused-order"}
    )
    assert refused.json()["request_id"] == "refused-order"
    assert eventually(lambda: bool(engine_lines(stack, "refused-order/")))
    (said,) = engine_lines(stack, "refused-order/")
    assert "a request was refused" in said
    assert "not_found" in said

    with held_engine(stack.triton) as engine:
        with open_request(gateway, LONG, "left-order"):
            engine.steps(BEGINNING)
        assert engine.goes_on_until(lambda: bool(engine_lines(stack, "left-order/")))
    assert eventually(lambda: bool(gateway.lines(request_id="left-order", outcome="cancelled")))
    (said,) = engine_lines(stack, "left-order/")
    assert "a request was cancelled" in said
    (line,) = gateway.lines(message="request", request_id="left-order")
    assert line["triton_id"] in said

    assert stack.triton
    for process in (gateway.process, stack.triton):
        assert SECRET not in process.output


def test_two_clients_with_one_id_do_not_end_each_other(
    gateway: Running, api: httpx.Client, stack: Stack
) -> None:
    headers = {"X-Request-ID": "the-same"}
    body = {**LONG, "max_tokens": 300, "min_tokens": 300}
    address = stack.settings.grpc_address
    before = num_cancelled(address)
    with ThreadPoolExecutor(1) as pool:
        with held_engine(stack.triton) as engine:
            with open_request(gateway, LONG, "the-same"):
                stays = pool.submit(api.post, f"{GENERATE}/baseline", json=body, headers=headers)
                assert eventually(lambda: num_open(address) == 2)
                engine.steps(BEGINNING)
            assert engine.goes_on_until(lambda: num_cancelled(address) == before + 1, 250)
        answer = stays.result()
    assert (answer.status_code, answer.json()["tokens_generated"]) == (200, 300)
    assert eventually(lambda: in_engine(stack) == 0)
    assert len(engine_lines(stack, "the-same/")) == 1  # the one that was cancelled


def test_a_trace_goes_from_the_client_through_the_gateway_to_the_engine(
    gateway: Running, api: httpx.Client, traces: Collector, stack: Stack
) -> None:
    trace, parent = secrets.token_hex(16), secrets.token_hex(8)
    headers = {"traceparent": f"00-{trace}-{parent}-01", "X-Request-ID": "traced"}
    with ThreadPoolExecutor(1) as pool:
        with held_engine(stack.triton) as engine:
            asked = pool.submit(api.post, GENERATE, json=STEERED, headers=headers)
            engine.steps(0)
            time.sleep(HELD_SECONDS)
        body = asked.result().json()
    expected = {f"POST {GENERATE}", "engine queue", "engine prefill", "engine decode"}
    assert eventually(lambda: expected < traces.of_trace(trace).keys())
    spans = traces.of_trace(trace)
    server = spans[f"POST {GENERATE}"]
    (client,) = [span for name, span in spans.items() if name.startswith("chat ")]
    phases = [spans[f"engine {phase}"] for phase in ("queue", "prefill", "decode")]
    assert server.parent_span_id.hex() == parent
    assert client.parent_span_id == server.span_id
    assert {phase.parent_span_id for phase in phases} == {client.span_id}

    described = attributes_of(server)
    assert described["http.route"] == GENERATE
    assert described["http.response.status_code"] == 200
    assert described["persona.request_id"] == "traced"
    described = attributes_of(client)
    assert described["gen_ai.usage.input_tokens"] == body["prompt_tokens"]
    assert described["gen_ai.usage.output_tokens"] == body["tokens_generated"]
    assert described["gen_ai.response.finish_reasons"] == [body["finish_reason"]]
    assert (described["persona.traits"], described["persona.scalars"]) == (["sarcasm"], [2.0])

    moments = [server.start_time_unix_nano, client.start_time_unix_nano]
    for phase in phases:
        moments += [phase.start_time_unix_nano, phase.end_time_unix_nano]
    moments += [client.end_time_unix_nano, server.end_time_unix_nano]
    assert moments == sorted(moments)
    took = {span.name: span.end_time_unix_nano - span.start_time_unix_nano for span in phases}
    assert took["engine prefill"] > 1e9 * HELD_SECONDS
    assert SECRET.encode() not in traces.payload
    assert not any(span.name.endswith(("/metrics", "/health")) for span in traces.spans)


def test_every_worker_answers_for_all(stack: Stack, tmp_path: Path) -> None:
    with running(stack, tmp_path, WORKERS="2") as gateway:

        def total(scrape: Scrape) -> float:
            return scrape.get("persona_gateway_requests_total", route="/", outcome="ok")

        def served_by() -> Counter[str]:
            return Counter(line["message"] for line in gateway.lines(logger="uvicorn.error"))

        started = "Application startup complete."
        assert eventually(lambda: served_by()[started] == 2)
        # A connection for each, since that chooses the worker.
        for _ in range(40):
            assert httpx.get(f"{gateway.url}/").status_code == 200
        scrapes = [gateway.scrape() for _ in range(20)]
        assert {total(scrape) for scrape in scrapes} == {40}
        assert {scrape.get("persona_gateway_build_info") for scrape in scrapes} == {1}
        answer = httpx.post(f"{gateway.url}{GENERATE}", json=STEERED, timeout=60)
        assert answer.status_code == 200
        for scrape in [gateway.scrape() for _ in range(10)]:
            assert scrape.get("persona_gateway_steered_requests_total", trait="sarcasm") == 1
            assert scrape.get("persona_gateway_generations_in_flight") == 0
            assert "pid" not in scrape.text

        # A worker dies with an open generation: its counters stay, what it had in flight does not.
        with held_engine(stack.triton), open_request(gateway, LONG, "orphan"):
            assert eventually(lambda: in_engine(stack) == 1)
            flight = "persona_gateway_generations_in_flight"
            assert gateway.scrape().get(flight, stream="false") == 1
            for pid in workers_of(gateway):
                os.kill(pid, signal.SIGKILL)
            assert eventually(lambda: served_by()[started] == 4)
            assert gateway.scrape().get(flight) == 0
        assert total(gateway.scrape()) == 40


def workers_of(gateway: Running) -> list[int]:
    return [
        pid
        for pid in group_members(gateway.process.pid)
        if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()
    ]


METRIC = re.compile(r"\b(?:persona|nv)_[a-z0-9_]+\b")


def expressions_of_dashboard() -> list[str]:
    dashboard = json.loads((ROOT / "deploy/grafana/persona.json").read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    variables = {each["name"] for each in dashboard["templating"]["list"]}
    expressions = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    expressions += [each["definition"] for each in dashboard["templating"]["list"][1:]]
    for expression in expressions:
        used = set(re.findall(r"\$(\w+)", expression)) - {"__rate_interval"}
        assert used <= variables
    return expressions


def expressions_of_alerts() -> list[str]:
    groups = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"].keys() == {"summary", "description"}
    return [rule["expr"] for rule in rules]


@pytest.mark.parametrize("expressions_of", [expressions_of_dashboard, expressions_of_alerts])
def test_dashboard_and_alerts_ask_for_what_there_is(
    expressions_of: Any, gateway: Running, stack: Stack
) -> None:
    settings = stack.settings
    triton = httpx.get(settings.metrics_url).text + httpx.get(f"{settings.status_url}/metrics").text
    there_is = gateway.scrape().names | set(re.findall(r"^# TYPE (\w+) ", triton, re.MULTILINE))
    expressions = expressions_of()
    used = {name for expression in expressions for name in METRIC.findall(expression)}
    assert len(used) > 5
    assert used - there_is == set()
    for expression in expressions:
        assert expression.count("(") == expression.count(")")
        assert expression.count("{") == expression.count("}")


def test_the_example_scrapes_the_jobs_that_alerts_name() -> None:
    folder = ROOT / "deploy/prometheus"
    config = yaml.safe_load((folder / "prometheus.yaml").read_text())
    jobs = {job["job_name"] for job in config["scrape_configs"]}
    named = {
        name for each in expressions_of_alerts() for name in re.findall(r'job="([^"]+)"', each)
    }
    assert named == jobs
    assert all((folder / name).is_file() for name in config["rule_files"])

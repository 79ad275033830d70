"""Metrics of a real gateway over the real Triton are what known requests did."""

from __future__ import annotations

import json
import os
import secrets
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx

from benchmarks.prometheus_text import Scrape, rises
from launcher.processes import group_members
from launcher.stack import Stack
from tests.e2e.held_engine import BEGINNING, held_engine, pieces_of
from tests.e2e.observability.observed_gateway import (
    BASELINE,
    GENERATE,
    LONG,
    STEERED,
    Running,
    in_engine,
    open_request,
    running,
)
from tests.e2e.waiting import eventually


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
    # Other tests count what is open in the engine, which this one's request may outlive.
    assert eventually(lambda: in_engine(stack) == 0)


def workers_of(gateway: Running) -> list[int]:
    return [
        pid
        for pid in group_members(gateway.process.pid)
        if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()
    ]

"""A trace goes from the client through the gateway to the engine."""

from __future__ import annotations

import secrets
import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from launcher.stack import Stack
from tests.e2e.held_engine import held_engine
from tests.e2e.observability.observed_gateway import GENERATE, SECRET, STEERED, Running
from tests.e2e.waiting import eventually
from tests.otlp_collector import Collector, attributes_of

HELD_SECONDS = 0.3


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

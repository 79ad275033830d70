"""Spans say how a request went; without an address for them nothing is imported."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from gateway.observability.spans import Spans
from tests.otlp_collector import attributes_of, collector
from tests.unit.gateway.observability.observed import SECRET, record, watch
from triton_models.grpc_messages import TritonChunk


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

"""Spans for requests, generations and the engine's phases, sent by OTLP over HTTP.

Triton 2.51 gives no headers to Python models, so the engine cannot make spans of its own. It says
with an answer's end how long each phase took; those spans are made here and end with the last
response. What is left of the generation's span before them is the way to the engine: the gateway,
gRPC and the tokenizer. No clock is compared with another machine's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers

from gateway import __version__
from gateway.observability.access_log import QUIET_ROUTES
from gateway.request_record import GenerationRecord, Observer, RequestRecord

_PHASES = ("queue", "prefill", "decode")
"""The engine's phases, in their order."""

_FLUSH_MILLISECONDS = 2000
"""How long the gateway's end may wait for a collector."""

_SAME_NAME = (
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "frequency_penalty",
    "presence_penalty",
    "seed",
)
"""Inputs that OpenTelemetry calls `gen_ai.request.` and the same name."""

_LARGEST_INTEGER = 2**63 - 1
"""That an attribute holds; a seed may be larger."""


class Spans(Observer):
    """Makes spans of what happens and sends them in the background."""

    def __init__(self, model: str, triton_url: str) -> None:
        self._model = model
        host, _, port = triton_url.rpartition(":")
        self._server: dict[str, Any] = {"server.address": host or triton_url}
        if port.isdecimal():
            self._server["server.port"] = int(port)
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("gateway", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def close(self) -> None:
        """Sends what is left, for a while."""
        self._provider.force_flush(_FLUSH_MILLISECONDS)
        self._provider.shutdown()

    def request_began(self, request: RequestRecord) -> None:
        """Begins a request's span, within the client's trace if it sent one."""
        # There is no route yet, but what is quiet has no parameters in its address.
        if request.path in QUIET_ROUTES:
            return
        span = self._tracer.start_span(
            request.method,
            context=self._propagator.extract(Headers(scope=dict(request.scope))),
            kind=SpanKind.SERVER,
            attributes=_of_request(request),
            start_time=request.started_ns,
        )
        request.span = span
        request.trace_id = f"{span.get_span_context().trace_id:032x}"

    def request_ended(self, request: RequestRecord) -> None:
        """Ends it."""
        span: Span | None = request.span
        if span is None:
            return
        span.update_name(f"{request.method} {request.route}")
        span.set_attributes({"http.route": request.route, "persona.outcome": request.outcome})
        if request.status:
            span.set_attribute("http.response.status_code", request.status)
        if request.outcome == "failed":
            code = str(request.log_fields.get("code") or request.status or "internal")
            span.set_attribute("error.type", code)
            span.set_status(Status(StatusCode.ERROR))
        span.end(request.started_ns + int(request.seconds * 1e9))

    def generation_began(self, generation: GenerationRecord) -> None:
        """Begins a generation's span, within its request's."""
        request = generation.request
        parent = set_span_in_context(request.span) if request and request.span else Context()
        generation.span = self._tracer.start_span(
            f"chat {self._model}",
            context=parent,
            kind=SpanKind.CLIENT,
            attributes={
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "persona_triton",
                "gen_ai.request.model": self._model,
                "rpc.system": "grpc",
                "persona.triton_id": generation.triton_id,
                "persona.traits": list(generation.steering),
                "persona.scalars": [float(value) for value in generation.steering.values()],
                "persona.operations": generation.operation_names,
                "persona.stream": generation.streamed,
                **self._server,
                **_of_parameters(generation.parameters),
            },
            start_time=generation.started_ns,
        )

    def generation_ended(self, generation: GenerationRecord) -> None:
        """Ends it, and makes those of the engine's phases."""
        span: Span | None = generation.span
        if span is None:
            return
        span.set_attributes(
            {
                "gen_ai.usage.input_tokens": generation.prompt_tokens,
                "gen_ai.usage.output_tokens": generation.tokens,
                "persona.reused_tokens": generation.reused_tokens,
                "persona.outcome": generation.outcome,
            }
        )
        if generation.finish_reason:
            span.set_attribute("gen_ai.response.finish_reasons", [generation.finish_reason])
        if generation.first_token_seconds is not None:
            span.set_attribute("persona.time_to_first_token", generation.first_token_seconds)
        if generation.error is not None:
            span.set_attribute("error.type", generation.error.code)
            span.set_status(Status(StatusCode.ERROR, generation.error.code))
        self._make_phases(generation, span)
        span.end(generation.ended_ns)

    def _make_phases(self, generation: GenerationRecord, parent: Span) -> None:
        phases = [
            (name, int(generation.phases[name] * 1e9))
            for name in _PHASES
            if name in generation.phases
        ]
        start = generation.ended_ns - sum(length for _, length in phases)
        # The two processes' clocks may run a little differently.
        start = max(start, generation.started_ns)
        for name, length in phases:
            end = min(start + length, generation.ended_ns)
            span = self._tracer.start_span(
                f"engine {name}", context=set_span_in_context(parent), start_time=start
            )
            span.end(end)
            start = end


def _resource() -> Resource:
    attributes = {SERVICE_VERSION: __version__}
    # OTEL_RESOURCE_ATTRIBUTES may hold a name as well; the SDK's order of the three is kept.
    if "service.name=" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        attributes[SERVICE_NAME] = os.environ.get("OTEL_SERVICE_NAME") or "persona-gateway"
    return Resource.create(attributes)


def _of_request(request: RequestRecord) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "http.request.method": request.method,
        "url.path": request.path,
        "url.scheme": request.scope.get("scheme", "http"),
        "network.protocol.version": request.scope.get("http_version", "1.1"),
        "persona.request_id": request.id,
    }
    server, client = request.scope.get("server"), request.scope.get("client")
    if server:
        attributes["server.address"], attributes["server.port"] = server[0], server[1] or 0
    if client:
        attributes["client.address"] = client[0]
    return attributes


def _of_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: parameters[name][0] for name in _SAME_NAME if name in parameters}
    return {
        f"gen_ai.request.{name}": value
        for name, value in found.items()
        if not isinstance(value, int) or value <= _LARGEST_INTEGER
    }

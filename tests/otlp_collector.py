"""A collector of OpenTelemetry traces: takes OTLP over HTTP and keeps the spans."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """What has arrived.

    Attributes:
        url: Where to send it, the value of OTEL_EXPORTER_OTLP_ENDPOINT.
        payload: All bytes that came, as they came.
        spans: The spans in them.
        services: The names of the services that sent them.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.payload = b""
        self.spans: list[Any] = []
        self.services: set[str] = set()

    def take(self, payload: bytes) -> None:
        self.payload += payload
        for group in ExportTraceServiceRequest.FromString(payload).resource_spans:
            self.services.add(attributes_of(group.resource)["service.name"])
            for scope in group.scope_spans:
                self.spans.extend(scope.spans)

    def of_trace(self, trace_id: str) -> dict[str, Any]:
        """Returns a trace's spans by their names."""
        return {span.name: span for span in self.spans if span.trace_id.hex() == trace_id}


def attributes_of(item: Any) -> dict[str, Any]:
    """Returns the attributes of a span or a resource as Python values."""
    return {each.key: _value(each.value) for each in item.attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind)


@contextmanager
def collector() -> Iterator[Collector]:
    """Runs a collector on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.path == "/v1/traces"
            assert self.headers["content-type"] == "application/x-protobuf"
            collected.take(body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collected = Collector(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collected
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

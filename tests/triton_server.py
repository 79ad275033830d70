"""Serves Triton's gRPC API by a class of a test's own."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
from tritonclient.grpc import service_pb2_grpc


@contextmanager
def serving(triton: service_pb2_grpc.GRPCInferenceServiceServicer) -> Iterator[str]:
    """Runs it on a free port of this machine, and gives its address."""
    with ThreadPoolExecutor(8) as pool:
        server = grpc.server(pool)
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(triton, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(0).wait()

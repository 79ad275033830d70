"""The direct client stops an answer that goes on, and asks for no stop where there is none."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from persona_client.errors import ConnectionFailedError
from persona_client.triton import TritonPersonaClient
from tests.triton_server import serving
from triton_models.contract import tensors
from triton_models.settings import REPOSITORY_ROOT

FORKED = """
import os, sys
from persona_client.triton import TritonPersonaClient
chunks = TritonPersonaClient(sys.argv[1]).stream("hi")
next(chunks)
child = os.fork()
if child:
    os.waitpid(child, 0)
    os._exit(0)  # without what is done at the exit of a program
"""


class Triton(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Answers with a piece and then goes on for ever, or fails after the last piece."""

    def __init__(self, last: bool) -> None:
        self.asked: list[str] = []
        self.over = threading.Event()
        self._last = last

    def ModelStreamInfer(  # noqa: N802
        self, requests: Iterator[Any], context: Any
    ) -> Iterator[Any]:
        self.asked.append(next(requests).model_name)
        response = service_pb2.ModelInferResponse(model_name=tensors.PERSONA)
        for name, text in (("text_output", "a"), ("finish_reason", "stop" if self._last else "")):
            response.outputs.add(name=name, datatype="BYTES").shape.append(1)
            data = text.encode()
            response.raw_output_contents.append(len(data).to_bytes(4, "little") + data)
        yield service_pb2.ModelStreamInferResponse(infer_response=response)
        if self._last:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the connection is lost")
        self.over.wait()


@contextmanager
def served(triton: Triton) -> Iterator[str]:
    """Runs it, and gives its address."""
    with serving(triton) as address:
        try:
            yield address
        finally:
            triton.over.set()


def test_an_answer_whose_connection_fails_after_its_last_piece_is_not_stopped() -> None:
    triton = Triton(last=True)
    with served(triton) as address, pytest.raises(ConnectionFailedError):
        list(TritonPersonaClient(address).stream("hi"))
    assert triton.asked == [tensors.PERSONA]


def test_a_forked_child_that_ends_leaves_its_parent_s_answer_alone() -> None:
    triton = Triton(last=False)
    with served(triton) as address:
        command = [sys.executable, "-c", FORKED, address]
        subprocess.run(command, cwd=REPOSITORY_ROOT, check=True)
    assert triton.asked == [tensors.PERSONA]

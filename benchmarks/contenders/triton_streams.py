"""Streams over the network interfaces of a running stack: Triton's gRPC and the gateway's REST."""

from __future__ import annotations

import asyncio
import json
import queue
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from tritonclient import grpc as triton_grpc

from benchmarks.contenders.engine import StreamFailedError
from benchmarks.measurement import Measurement, Timeline, measure
from benchmarks.workload import Prompts, Steered, Workload, prompt_text, steering_of
from triton_models.contract import tensors

STREAM_SECONDS = 600.0
"""How long a stream may stay silent."""


class TritonStreams:
    """One gRPC stream for each request, as the gateway has them.

    Args:
        model: The model to call: `steered_qwen` takes tokens, `persona` text.
    """

    def __init__(self, address: str, model: str, steered: Steered, name: str) -> None:
        self.name = name
        self._address = address
        self._model = model
        self._steered = steered

    def requests_served(self, workload: Workload) -> int:
        """Returns how many of a workload's requests a run computes: all."""
        return workload.streams

    def run(self, workload: Workload, prompts: Prompts) -> Measurement:
        """Serves a workload; connecting is not timed.

        Raises:
            StreamFailedError: A stream did not end as it should.
        """
        inputs = [self._inputs(workload, stream, prompt) for stream, prompt in enumerate(prompts)]
        ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        timeline = Timeline(workload.streams)
        with ExitStack() as connections:
            clients = []
            for stream in range(workload.streams):
                client = connections.enter_context(triton_grpc.InferenceServerClient(self._address))
                client.start_stream(_receiver(timeline, stream, ended))
                clients.append(client)
            timeline.restart()
            for stream, (client, values) in enumerate(zip(clients, inputs, strict=True)):
                timeline.wait_for(stream, workload.comes_at(stream))
                client.async_stream_infer(self._model, values, enable_empty_final_response=True)
            for _ in clients:
                problem = ended.get(timeout=STREAM_SECONDS)
                if problem:
                    raise StreamFailedError(problem)
        return measure(timeline, workload.new_tokens)

    def _inputs(self, workload: Workload, stream: int, prompt: list[int]) -> list[Any]:
        values: dict[str, Sequence[Any]] = {
            "max_tokens": [workload.new_tokens],
            "temperature": [0.0],
            "stream": [True],
        }
        if self._model == tensors.STEERED_QWEN:
            values[tensors.INPUT_IDS.name] = prompt
        else:
            values[tensors.TEXT_INPUT.name] = [prompt_text(prompt).encode()]
            values["raw"] = [True]
        steering = steering_of(self._steered, stream)
        if steering is not None:
            values["trait"] = [steering.trait.encode()]
            values["scalar"] = [steering.scalar]
        specs, _ = tensors.MODELS[self._model]
        return [_tensor(spec, values[spec.name]) for spec in specs if spec.name in values]


class GatewayStreams:
    """Server-sent events of the gateway, one HTTP request for each stream.

    The requests are written and read by hand: an HTTP library in Python takes as much of the
    machine as the gateway does, which Triton's client, in C++, does not.
    """

    def __init__(self, url: str, steered: Steered, name: str) -> None:
        self.name = name
        self._url = url
        self._steered = steered

    def requests_served(self, workload: Workload) -> int:
        """Returns how many of a workload's requests a run computes: all."""
        return workload.streams

    def run(self, workload: Workload, prompts: Prompts) -> Measurement:
        """Serves a workload; connecting is not timed.

        Raises:
            StreamFailedError: A stream did not end as it should.
        """
        return measure(asyncio.run(self._ask_all(workload, prompts)), workload.new_tokens)

    async def _ask_all(self, workload: Workload, prompts: Prompts) -> Timeline:
        requests = [
            self._request(self._body(workload, stream, prompt))
            for stream, prompt in enumerate(prompts)
        ]
        address = urlsplit(self._url)
        connections = [
            await asyncio.open_connection(address.hostname, address.port) for _ in requests
        ]
        timeline = Timeline(workload.streams)
        try:
            await asyncio.gather(
                *(
                    self._ask(*connection, request, timeline, stream, workload.comes_at(stream))
                    for stream, (connection, request) in enumerate(
                        zip(connections, requests, strict=True)
                    )
                )
            )
        finally:
            for _, writer in connections:
                writer.close()
        return timeline

    async def _ask(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        request: bytes,
        timeline: Timeline,
        stream: int,
        comes_at: float,
    ) -> None:
        if comes_at:
            await asyncio.sleep(timeline.time_until(comes_at))
            timeline.requested(stream)
        writer.write(request)
        status = await reader.readline()
        if b" 200 " not in status:
            raise StreamFailedError(f"{status.decode()} {(await reader.read(1000)).decode()}")
        # The gateway sends each event as a chunk of its own, so that lines are whole.
        async for line in reader:
            if line.startswith(b"data:"):
                event = json.loads(line[len("data:") :])
                if event.get("error"):
                    raise StreamFailedError(str(event["error"]))
                timeline.record(stream, event["tokens_generated"])
                if "finish_reason" in event:
                    return

    def _request(self, body: dict[str, Any]) -> bytes:
        path = "generate" if "trait" in body else "generate/baseline"
        payload = json.dumps(body).encode()
        head = (
            f"POST /api/v1/{path} HTTP/1.1\r\nHost: {urlsplit(self._url).netloc}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
        )
        return head.encode() + payload

    def _body(self, workload: Workload, stream: int, prompt: list[int]) -> dict[str, Any]:
        body: dict[str, Any] = {
            "prompt": prompt_text(prompt),
            "raw": True,
            "max_tokens": workload.new_tokens,
            "temperature": 0.0,
            "stream": True,
        }
        steering = steering_of(self._steered, stream)
        if steering is not None:
            body |= {"trait": steering.trait, "scalar": steering.scalar}
        return body


def _tensor(spec: tensors.TensorSpec, values: Sequence[Any]) -> Any:
    array = np.array(values, dtype=tensors.NUMPY_TYPES[spec.datatype])
    tensor = triton_grpc.InferInput(spec.name, list(array.shape), spec.datatype)
    tensor.set_data_from_numpy(array)
    return tensor


def _receiver(timeline: Timeline, stream: int, ended: queue.SimpleQueue[str]) -> Any:
    """Returns what a stream's thread calls; `ended` gets "" or what went wrong."""

    def receive(result: Any, error: Exception | None) -> None:
        if error is not None:
            ended.put(str(error))
            return
        tokens = result.as_numpy("num_output_tokens")
        if tokens is not None:
            timeline.record(stream, int(tokens[0]))
            problem = result.as_numpy("error")[0].decode()
            if problem:
                ended.put(problem)
                return
        if result.get_response().parameters["triton_final_response"].bool_param:
            ended.put("")

    return receive

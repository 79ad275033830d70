"""Streams over the network interfaces of a running stack: Triton's gRPC and the gateway's REST."""

from __future__ import annotations

import asyncio
import json
import queue
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import numpy as np
from tritonclient import grpc as triton_grpc

from benchmarks.contenders.contender import Contender
from benchmarks.contenders.engine import StreamFailedError
from benchmarks.measurement import Measurement, Timeline, measure
from benchmarks.soak.bad_input import GENERATE, JSON
from benchmarks.soak.verdicts import events
from benchmarks.soak.wire import Connection, WireCall, connected
from benchmarks.workload import Prompts, Workload, own_steering, prompt_text
from triton_models.contract import tensors

STREAM_SECONDS = 600.0
"""How long a stream may stay silent."""


class TritonStreams(Contender):
    """One gRPC stream for each request; `steered_qwen` takes tokens, `persona` takes text."""

    def __init__(self, address: str, model: str, name: str) -> None:
        self.name = name
        self._address = address
        self._model = model

    def run(self, workload: Workload, prompts: Prompts) -> Measurement:
        """Serves a workload; connecting is not timed."""
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
        steering = own_steering(stream)
        specs = {spec.name: spec for spec in tensors.MODELS[self._model][0]}
        inputs: dict[str, Sequence[Any]] = {
            "max_tokens": [workload.new_tokens],
            "temperature": [0.0],
            "stream": [True],
            "trait": [steering.trait],
            "scalar": [steering.scalar],
        }
        if self._model == tensors.STEERED_QWEN:
            inputs[tensors.INPUT_IDS.name] = prompt
        else:
            inputs |= {tensors.TEXT_INPUT.name: [prompt_text(prompt)], "raw": [True]}
        return [_tensor(specs[name], values) for name, values in inputs.items()]


class GatewayStreams(Contender):
    """Server-sent events of the gateway, one HTTP request for each stream.

    The requests are written and read by hand: an HTTP library in Python takes as much of the
    machine as the gateway does, which Triton's client, in C++, does not.
    """

    def __init__(self, port: int, name: str) -> None:
        self.name = name
        self._port = port

    def run(self, workload: Workload, prompts: Prompts) -> Measurement:
        """Serves a workload; connecting is not timed."""
        return measure(asyncio.run(self._ask_all(workload, prompts)), workload.new_tokens)

    async def _ask_all(self, workload: Workload, prompts: Prompts) -> Timeline:
        calls = [self._call(workload, stream, prompt) for stream, prompt in enumerate(prompts)]
        async with AsyncExitStack() as stack:
            connections = [await stack.enter_async_context(connected(self._port)) for _ in calls]
            timeline = Timeline(workload.streams)
            await asyncio.gather(
                *(
                    self._ask(connection, call, timeline, stream, workload.comes_at(stream))
                    for stream, (connection, call) in enumerate(
                        zip(connections, calls, strict=True)
                    )
                )
            )
        return timeline

    async def _ask(
        self,
        connection: Connection,
        call: WireCall,
        timeline: Timeline,
        stream: int,
        comes_at: float,
    ) -> None:
        if comes_at:
            await asyncio.sleep(timeline.time_until(comes_at))
            timeline.requested(stream)
        await connection.send(call.encoded())
        reply = await connection.head()
        if reply.status != 200:
            raise StreamFailedError(f"{reply.status} {(await connection.rest(reply)).text}")
        # The gateway sends each event as a piece of its own.
        while piece := await connection.piece(reply):
            for _, data in events(piece.decode()):
                event = json.loads(data)
                if event.get("error"):
                    raise StreamFailedError(str(event["error"]))
                timeline.record(stream, event["tokens_generated"])
                if "finish_reason" in event:
                    return

    def _call(self, workload: Workload, stream: int, prompt: list[int]) -> WireCall:
        steering = own_steering(stream)
        body = {
            "trait": steering.trait,
            "scalar": steering.scalar,
            "prompt": prompt_text(prompt),
            "raw": True,
            "max_tokens": workload.new_tokens,
            "temperature": 0.0,
            "stream": True,
        }
        return WireCall("POST", GENERATE, JSON, json.dumps(body).encode())


def _tensor(spec: tensors.TensorSpec, values: Sequence[Any]) -> Any:
    elements = [value.encode() if isinstance(value, str) else value for value in values]
    tensor = triton_grpc.InferInput(spec.name, [len(elements)], spec.datatype)
    tensor.set_data_from_numpy(np.array(elements, dtype=tensors.NUMPY_TYPES[spec.datatype]))
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

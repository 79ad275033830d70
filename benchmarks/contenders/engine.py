"""This project's engine, alone: no Triton around it."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks.measurement import Measurement, Timeline, measure
from benchmarks.shapes import MAX_CONTEXT, BenchmarkModel
from benchmarks.workload import Prompts, Steered, StreamSteering, Workload, steering_of
from triton_models.contract.request import GenerationRequest, SamplingParameters, SteeringParameters
from triton_models.engine.build import build_engine
from triton_models.engine.engine import Engine
from triton_models.engine.sequence import FinishReason, TokenChunk
from triton_models.settings import ServerSettings

MAX_BATCH_ROWS = 256
"""How many streams the engine and the server compute together; more would have to wait."""

GREEDY = SamplingParameters(temperature=0.0)


class StreamFailedError(RuntimeError):
    """A stream ended otherwise than by its length."""


@contextmanager
def running_engine(model: BenchmarkModel, threads: int, device: str = "cpu") -> Iterator[Engine]:
    """Runs an engine meanwhile."""
    settings = ServerSettings(
        model_name=str(model.folder),
        vectors=model.vectors,
        device=device,
        dtype=model.dtype,
        max_batch_rows=MAX_BATCH_ROWS,
        max_context=MAX_CONTEXT,
        threads=threads,
    )
    engine = build_engine(settings).engine
    engine.start()
    try:
        yield engine
    finally:
        engine.stop(0)


class EngineAlone:
    """Requests handed to the engine in this process."""

    def __init__(
        self,
        engine: Engine,
        steered: Steered,
        name: str,
        sampling_of: Callable[[int], SamplingParameters] = lambda _: GREEDY,
    ) -> None:
        self.name = name
        self._engine = engine
        self._steered = steered
        self._sampling_of = sampling_of

    def requests_served(self, workload: Workload) -> int:
        """Returns how many of a workload's requests a run computes: all."""
        return workload.streams

    def run(self, workload: Workload, prompts: Prompts) -> Measurement:
        """Serves a workload.

        Raises:
            StreamFailedError: A stream did not end as it should.
        """
        requests = [
            make_request(workload, steering_of(self._steered, stream), self._sampling_of(stream))
            for stream in range(workload.streams)
        ]
        ended: queue.SimpleQueue[TokenChunk] = queue.SimpleQueue()
        timeline = Timeline(workload.streams)
        for stream, (request, prompt) in enumerate(zip(requests, prompts, strict=True)):
            timeline.wait_for(stream, workload.comes_at(stream))
            self._engine.submit(request, prompt, _emitter(timeline, stream, ended), str(stream))
        for _ in range(workload.streams):
            last = ended.get()
            if last.finish_reason is not FinishReason.LENGTH:
                raise StreamFailedError(last.error or f"a stream ended with {last.finish_reason}")
        return measure(timeline, workload.new_tokens)


def make_request(
    workload: Workload,
    steering: StreamSteering | None,
    sampling: SamplingParameters = GREEDY,
) -> GenerationRequest:
    """Returns the engine's request for a stream."""
    return GenerationRequest(
        steering=SteeringParameters({steering.trait: steering.scalar} if steering else {}),
        sampling=sampling,
        max_tokens=workload.new_tokens,
        stream=True,
    )


def _emitter(
    timeline: Timeline, stream: int, ended: queue.SimpleQueue[TokenChunk]
) -> Callable[[TokenChunk], None]:
    def emit(chunk: TokenChunk) -> None:
        timeline.record(stream, chunk.num_generated_tokens)
        if chunk.finish_reason is not None:
            ended.put(chunk)

    return emit

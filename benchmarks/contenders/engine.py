"""This project's engine, alone: no Triton around it."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from benchmarks.contenders.contender import Contender
from benchmarks.measurement import Measurement, Timeline, measure
from benchmarks.shapes import MAX_CONTEXT, BenchmarkModel
from benchmarks.workload import Prompts, Steered, Workload, own_steering, steering_of
from triton_models.contract.answer_format import AnswerFormat
from triton_models.contract.request import GenerationRequest, SamplingParameters
from triton_models.contract.steering import Condition, Operation, SteeringParameters
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
        max_batch_rows=MAX_BATCH_ROWS,
        max_context=MAX_CONTEXT,
        threads=threads,
    ).model_copy(update={"device": device, "dtype": model.dtype})
    engine = build_engine(settings).engine
    engine.start()
    try:
        yield engine
    finally:
        engine.stop(0)


class EngineAlone(Contender):
    """Requests handed to the engine in this process.

    Args:
        engine: The engine.
        steered: Whether the streams are steered.
        name: What it is called in tables.
        sampling_of: Returns how a stream samples.
        format_of: Returns the format that it follows.
        monitors: Whether each stream reads a trait of its own at every token.
    """

    def __init__(
        self,
        engine: Engine,
        steered: Steered,
        name: str,
        sampling_of: Callable[[int], SamplingParameters] = lambda _: GREEDY,
        format_of: Callable[[int], AnswerFormat | None] = lambda _: None,
        monitors: bool = False,
    ) -> None:
        self.name = name
        self._engine = engine
        self._steered = steered
        self._sampling_of = sampling_of
        self._format_of = format_of
        self._monitors = monitors

    def run(self, workload: Workload, prompts: Prompts) -> Measurement:
        """Serves a workload; see `serve`."""
        requests = [
            make_request(
                workload,
                steering_parameters(self._steered, stream),
                self._sampling_of(stream),
                self._format_of(stream),
                own_steering(stream).trait if self._monitors else None,
            )
            for stream in range(workload.streams)
        ]
        timeline = Timeline(workload.streams)
        serve(
            self._engine,
            requests,
            prompts,
            lambda stream, chunk: timeline.record(stream, chunk.num_generated_tokens),
            lambda stream: timeline.wait_for(stream, workload.comes_at(stream)),
        )
        return measure(timeline, workload.new_tokens)


def serve(
    engine: Engine,
    requests: Sequence[GenerationRequest],
    prompts: Prompts,
    on_chunk: Callable[[int, TokenChunk], None],
    wait_for: Callable[[int], None] = lambda _: None,
) -> None:
    """Has an engine answer each stream's prompt to its end.

    Raises:
        StreamFailedError: A stream did not end as it should.
    """
    ended: queue.SimpleQueue[TokenChunk] = queue.SimpleQueue()

    def emit(stream: int, chunk: TokenChunk) -> None:
        on_chunk(stream, chunk)
        if chunk.finish_reason is not None:
            ended.put(chunk)

    for stream, (request, prompt) in enumerate(zip(requests, prompts, strict=True)):
        wait_for(stream)
        engine.submit(request, prompt, partial(emit, stream), str(stream))
    for _ in requests:
        last = ended.get()
        if last.finish_reason is not FinishReason.LENGTH:
            raise StreamFailedError(last.error or f"a stream ended with {last.finish_reason}")


def steering_parameters(steered: Steered, stream: int) -> SteeringParameters:
    """Returns how the engine is to steer a stream."""
    steering = steering_of(steered, stream)
    if steering is None:
        return SteeringParameters()
    scalars = {steering.trait: steering.scalar}
    if steered != "with rules":
        return SteeringParameters(scalars)
    # Bounds in the midst of what occurs, so that some tokens are changed and others are not.
    operations = (Operation(steering.trait, "cap", 0.0), Operation(steering.trait, "floor", -1.0))
    return SteeringParameters(
        scalars, operations=operations, when=Condition(steering.trait, 0.0, above=True)
    )


def make_request(
    workload: Workload,
    steering: SteeringParameters,
    sampling: SamplingParameters = GREEDY,
    format: AnswerFormat | None = None,
    monitored: str | None = None,
) -> GenerationRequest:
    """Returns the engine's request for a stream."""
    return GenerationRequest(
        steering=steering,
        sampling=sampling,
        max_tokens=workload.new_tokens,
        stream=True,
        format=format,
        monitor=() if monitored is None else (monitored,),
        monitor_tokens=monitored is not None,
    )

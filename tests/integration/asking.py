"""Asking an engine and collecting its answers."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from triton_models.contract.request import GenerationRequest, SamplingParameters
from triton_models.engine.engine import Engine
from triton_models.engine.sequence import TokenChunk

GREEDY = SamplingParameters(temperature=0.0)


@dataclass
class Answer:
    """Collects a request's chunks."""

    chunks: queue.SimpleQueue[TokenChunk] = field(default_factory=queue.SimpleQueue)

    def all(self) -> list[TokenChunk]:
        """Waits for the last chunk and returns all."""
        chunks = [self.chunks.get(timeout=60)]
        while chunks[-1].finish_reason is None:
            chunks.append(self.chunks.get(timeout=60))
        return chunks

    def tokens(self) -> list[int]:
        """Waits for the last chunk and returns all tokens."""
        return [token for chunk in self.all() for token in chunk.token_ids]


class Hold(Answer):
    """Collects a request's chunks, and lets the engine stand still at the first."""

    def __init__(self) -> None:
        super().__init__()
        self._reached, self._going_on = threading.Event(), threading.Event()

    def emit(self, chunk: TokenChunk) -> None:
        """Takes a chunk, on the engine's thread."""
        self.chunks.put(chunk)
        self._reached.set()
        assert self._going_on.wait(60)

    def wait(self) -> None:
        """Waits until the engine stands still."""
        assert self._reached.wait(60)

    def let_go(self) -> None:
        """Lets the engine go on."""
        self._going_on.set()


@contextmanager
def standing(engine: Engine) -> Iterator[None]:
    """Lets an engine stand still, so that what is asked meanwhile is there at once afterwards."""
    hold = Hold()
    engine.submit(GenerationRequest(sampling=GREEDY, max_tokens=1), [1], hold.emit)
    hold.wait()
    try:
        yield
    finally:
        hold.let_go()


def ask(engine: Engine, request: GenerationRequest, prompt: list[int], id: str = "") -> Answer:
    answer = Answer()
    engine.submit(request, prompt, answer.chunks.put, id)
    return answer

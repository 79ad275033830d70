"""Asking an engine and collecting its answers."""

from __future__ import annotations

import queue
from dataclasses import dataclass, field

from triton_models.engine.engine import Engine
from triton_models.engine.sequence import Chunk
from triton_models.request import GenerationRequest, SamplingParameters

GREEDY = SamplingParameters(temperature=0.0)


@dataclass
class Answer:
    """Collects a request's chunks."""

    chunks: queue.SimpleQueue[Chunk] = field(default_factory=queue.SimpleQueue)

    def all(self) -> list[Chunk]:
        """Waits for the last chunk and returns all."""
        chunks = [self.chunks.get(timeout=60)]
        while chunks[-1].finish_reason is None:
            chunks.append(self.chunks.get(timeout=60))
        return chunks

    def tokens(self) -> list[int]:
        """Waits for the last chunk and returns all tokens."""
        return [token for chunk in self.all() for token in chunk.token_ids]


def ask(engine: Engine, request: GenerationRequest, prompt: list[int], id: str = "") -> Answer:
    answer = Answer()
    engine.submit(request, prompt, answer.chunks.put, id)
    return answer

"""`python -m benchmarks.host`: what Python does per step, with a model that computes nothing.

The engine, its scheduler, its sampling and its chunks are the real ones; the model has no decoder
block and a vocabulary of a few dozen tokens, so that a step is bookkeeping. What a step of a real
model takes on top of this is the device's.
"""

from __future__ import annotations

import argparse
import math
import queue
import statistics
import sys
from collections.abc import Mapping

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe_machine
from triton_models.contract.request import GenerationRequest, SamplingParameters
from triton_models.engine.engine import Engine
from triton_models.engine.kv_room import KVRoom
from triton_models.engine.model_runner import ModelRunner, RunnerSizes
from triton_models.engine.sequence import TokenChunk
from triton_models.model.architecture import Architecture
from triton_models.model.linear import NumberFormat
from triton_models.model.transformer import Transformer
from triton_models.settings import ServerSettings
from triton_models.text.token_bytes import TokenBytes
from triton_models.vectors.registry import VectorRegistry

VOCABULARY = 64
HIDDEN_SIZE = 8
PROMPT_TOKENS = 32

SAMPLINGS = {
    "greedy": SamplingParameters(temperature=0.0, seed=1),
    "temperature 0.8, top-p 0.9, top-k 50": SamplingParameters(0.8, 50, 0.9, seed=1),
    "temperature 0.8, top-k 0": SamplingParameters(0.8, 0, 0.9, seed=1),
    "greedy, repetition penalty": SamplingParameters(
        temperature=0.0, repetition_penalty=1.2, seed=1
    ),
    "sampled, all penalties": SamplingParameters(
        0.8, 50, 0.9, repetition_penalty=1.2, frequency_penalty=0.2, presence_penalty=0.2, seed=1
    ),
}

_NO_VECTORS = VectorRegistry({}, {}, ())

BARS = {1: 0.25, 256: 2.0}
"""The most milliseconds of a step by rows, whatever the sampling."""


class LettersOf(TokenBytes):
    """Each token is a letter, as most of a real tokenizer's are whole characters."""

    def __init__(self, vocabulary_size: int) -> None:
        self._letters = [bytes([ord("a") + token % 26]) for token in range(vocabulary_size)]

    def __getitem__(self, token_id: int) -> bytes:
        return self._letters[token_id]


def make_engine(num_rows: int, new_tokens: int) -> Engine:
    """Returns an engine, not started, over a model that computes nothing."""
    context_length = PROMPT_TOKENS + new_tokens
    device = torch.device("cpu")
    architecture = Architecture(
        "llama", VOCABULARY, HIDDEN_SIZE, HIDDEN_SIZE, 0, 1, 1, HIDDEN_SIZE, context_length, 1e-6
    )
    number_format = NumberFormat(torch.float32, torch.float32)
    model = Transformer(architecture, number_format, context_length, device)
    model.head.weight = torch.nn.Parameter(torch.empty(VOCABULARY, HIDDEN_SIZE))
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    settings = ServerSettings(max_batch_rows=num_rows, prefill_chunk=65_536)
    return engine_over(model, num_rows * context_length, context_length, settings)


def engine_over(
    model: Transformer,
    num_slots: int,
    context_length: int,
    settings: ServerSettings,
    registry: VectorRegistry = _NO_VECTORS,
) -> Engine:
    """Returns an engine, not started, over a model whose tokens are letters."""
    runner = ModelRunner(model, RunnerSizes(settings.max_batch_rows, num_slots, context_length), [])
    room = KVRoom(num_slots, reuse=False)
    letters = LettersOf(model.architecture.vocabulary_size)
    return Engine(runner, room, letters, lambda: registry, [], context_length, settings)


def measure(rows: int, sampling: SamplingParameters, new_tokens: int) -> float:
    """Returns the milliseconds of a step, from when all streams generate until they end."""
    engine = make_engine(rows, new_tokens)
    ended: queue.SimpleQueue[TokenChunk] = queue.SimpleQueue()
    chunks = [0]

    def emit(chunk: TokenChunk) -> None:
        chunks[0] += 1
        if chunk.finish_reason is not None:
            ended.put(chunk)

    request = GenerationRequest(sampling=sampling, max_tokens=new_tokens, stream=True)
    for row in range(rows):
        prompt = [(row + 7 * place) % VOCABULARY for place in range(PROMPT_TOKENS)]
        engine.submit(request, prompt, emit)
    engine.start()
    last = [ended.get() for _ in range(rows)]
    engine.stop(0)
    assert chunks[0] == rows * new_tokens, "each token is a chunk of its own"
    decode = statistics.median(each.phases.decode or 0.0 for each in last if each.phases)
    return 1000 * decode / (new_tokens - 1)


def main() -> int:
    """Measures and prints a table; the exit status says whether the bars are met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.host", description=__doc__)
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 16, 64, 256])
    parser.add_argument("--tokens", type=int, default=200, help="generated by each request")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # what is computed is too small to share
    samples: dict[tuple[int, str], list[float]] = {}
    for _ in range(arguments.rounds):
        for rows in arguments.rows:
            for name, sampling in SAMPLINGS.items():
                measured = measure(rows, sampling, arguments.tokens)
                samples.setdefault((rows, name), []).append(measured)
    times = {key: statistics.median(each) for key, each in samples.items()}
    _print(times, arguments.rows)
    return 0 if all(each <= BARS.get(rows, math.inf) for (rows, _), each in times.items()) else 1


def _print(times: Mapping[tuple[int, str], float], rows: list[int]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 120)
    table = Table(title=f"ms a step without a model: {describe_machine()['cpu']}")
    table.add_column("sampling")
    for count in rows:
        bar = f" (at most {BARS[count]:g})" if count in BARS else ""
        table.add_column(f"{count} rows{bar}", justify="right")
    for name in SAMPLINGS:
        table.add_row(name, *(f"{times[count, name]:.3f}" for count in rows))
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())

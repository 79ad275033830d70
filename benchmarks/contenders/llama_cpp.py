"""llama.cpp through llama-cpp-python, with all streams in one batch.

Its low-level batch interface is used as a server would: prompts are computed first, as many
together as fit into a batch, then each step computes one token of every stream. A context has one
control vector, so the streams can be steered only all in the same way.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.contenders.contender import Contender
from benchmarks.contenders.gguf_file import write_gguf
from benchmarks.contenders.steering import read_vectors
from benchmarks.measurement import Measurement, Timeline, measure
from benchmarks.shapes import BenchmarkModel
from benchmarks.workload import UNIFORM, Prompts, Workload

with contextlib.suppress(ImportError):  # it is optional: see `is_installed`
    import llama_cpp

BATCH_TOKENS = 2048
"""The most tokens of one call to llama.cpp, and so of a prompt: its own default."""


class LlamaCppError(RuntimeError):
    """llama.cpp refused something."""


def is_installed() -> bool:
    """Whether llama-cpp-python and the writer of its files are there."""
    return all(importlib.util.find_spec(name) for name in ("llama_cpp", "gguf"))


@contextmanager
def loaded_llama(model: BenchmarkModel, threads: int) -> Iterator[LlamaModel]:
    """Holds a model in llama.cpp meanwhile, written as GGUF beside its folder."""
    path = model.folder.with_name(model.folder.name + ".gguf")
    write_gguf(model.folder, path)
    with contextlib.closing(
        LlamaModel(path, threads, exact_cache=model.dtype == "float32")
    ) as llama:
        yield llama


class LlamaCpp(Contender):
    """Streams served by llama.cpp, all steered in the same way."""

    name = "llama.cpp"

    def __init__(self, llama: LlamaModel, model: BenchmarkModel) -> None:
        self._llama = llama
        blocks = read_vectors(model)[UNIFORM.trait].blocks
        scalar = np.float32(UNIFORM.scalar)
        self._deltas = {block: vector * scalar for block, vector in blocks.items()}

    def run(self, workload: Workload, prompts: Prompts) -> Measurement:
        """Serves a workload; setting up the context before is not timed."""
        length = workload.prompt_tokens + workload.new_tokens
        with self._llama.context(workload.streams, length) as context:
            context.steer(self._deltas)
            timeline = Timeline(workload.streams)
            context.generate(prompts, workload.new_tokens, timeline)
        return measure(timeline, workload.new_tokens)


class LlamaModel:
    """A model held by llama.cpp, with keys and values in float16, its own choice, or float32.

    Raises:
        LlamaCppError: llama.cpp does not load the file.
    """

    def __init__(self, path: Path, threads: int, *, exact_cache: bool) -> None:
        llama_cpp.llama_log_set(_silence(), ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        parameters = llama_cpp.llama_model_default_params()
        parameters.n_gpu_layers = 0
        self._threads = threads
        self._cache_type = llama_cpp.GGML_TYPE_F32 if exact_cache else llama_cpp.GGML_TYPE_F16
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
        if not self._model:
            raise LlamaCppError(f"llama.cpp cannot load {path.name}")

    def close(self) -> None:
        """Frees the model; it cannot be used any more."""
        llama_cpp.llama_model_free(self._model)

    @contextmanager
    def context(self, streams: int, length: int) -> Iterator[LlamaContext]:
        """Makes room meanwhile for streams of at most so many tokens each, prompt and answer."""
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = streams * length
        parameters.n_batch = BATCH_TOKENS
        parameters.n_seq_max = streams
        parameters.n_threads = self._threads
        parameters.n_threads_batch = self._threads
        parameters.type_k = self._cache_type
        parameters.type_v = self._cache_type
        pointer = llama_cpp.llama_init_from_model(self._model, parameters)
        if not pointer:
            raise LlamaCppError(f"llama.cpp has no room for {streams} streams of {length} tokens")
        vocabulary = llama_cpp.llama_model_get_vocab(self._model)
        batch = llama_cpp.llama_batch_init(BATCH_TOKENS, 0, 1)
        try:
            yield LlamaContext(
                pointer,
                batch,
                llama_cpp.llama_vocab_n_tokens(vocabulary),
                llama_cpp.llama_model_n_embd(self._model),
            )
        finally:
            llama_cpp.llama_batch_free(batch)
            llama_cpp.llama_free(pointer)


@dataclass(frozen=True, slots=True)
class _Token:
    """A token to compute; after the last one of a stream its next is chosen."""

    id: int
    position: int
    stream: int
    is_last: bool


class LlamaContext:
    """Streams that llama.cpp computes together; `LlamaModel.context` makes one."""

    def __init__(self, pointer: Any, batch: Any, vocabulary_size: int, hidden_size: int) -> None:
        self._pointer = pointer
        self._batch = batch
        self._vocabulary_size = vocabulary_size
        self._hidden_size = hidden_size

    def steer(self, deltas: Mapping[int, NDArray[np.float32]]) -> None:
        """Adds vectors to the outputs of decoder blocks, for every stream.

        Args:
            deltas: For each 0-based block its vector; llama.cpp has none for block 0.

        Raises:
            LlamaCppError: llama.cpp does not take them.
        """
        if not deltas:
            return
        # One vector for every block from block 1 on; zeros for those between the steered ones.
        data = control_vector(deltas, self._hidden_size)
        status = llama_cpp.llama_set_adapter_cvec(
            self._pointer,
            data.ctypes.data_as(ctypes.POINTER(ctypes.c_float)),
            data.size,
            self._hidden_size,
            min(deltas),
            max(deltas),
        )
        if status:
            raise LlamaCppError(f"llama.cpp refused the control vector: {status}")

    def generate(self, prompts: Prompts, new_tokens: int, timeline: Timeline) -> list[list[int]]:
        """Generates greedily and returns each stream's new tokens."""
        answers: list[list[int]] = [[] for _ in prompts]
        for streams in prompts_together(list(map(len, prompts)), BATCH_TOKENS):
            self._compute(
                [
                    _Token(id, position, stream, position == len(prompts[stream]) - 1)
                    for stream in streams
                    for position, id in enumerate(prompts[stream])
                ],
                answers,
                timeline,
            )
        for _ in range(new_tokens - 1):
            self._compute(
                [
                    _Token(answer[-1], len(prompt) + len(answer) - 1, stream, True)
                    for stream, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
                ],
                answers,
                timeline,
            )
        return answers

    def _compute(
        self, tokens: Sequence[_Token], answers: list[list[int]], timeline: Timeline
    ) -> None:
        """Computes a batch and gives each stream whose last token is in it its next one."""
        batch = self._batch
        batch.n_tokens = len(tokens)
        for index, token in enumerate(tokens):
            batch.token[index] = token.id
            batch.pos[index] = token.position
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = token.stream
            batch.logits[index] = token.is_last
        status = llama_cpp.llama_decode(self._pointer, batch)
        if status:
            raise LlamaCppError(f"llama.cpp could not compute a batch: {status}")
        streams = [token.stream for token in tokens if token.is_last]
        logits = np.ctypeslib.as_array(
            llama_cpp.llama_get_logits(self._pointer), shape=(len(streams), self._vocabulary_size)
        )
        for stream, id in zip(streams, logits.argmax(axis=1).tolist(), strict=True):
            answers[stream].append(id)
            timeline.record(stream, len(answers[stream]))


def control_vector(
    deltas: Mapping[int, NDArray[np.float32]], hidden_size: int
) -> NDArray[np.float32]:
    """Returns vectors as llama.cpp wants them: float32 [last block, hidden size], from block 1 on.

    Raises:
        LlamaCppError: Block 0 is among the blocks.
    """
    if min(deltas) < 1:
        raise LlamaCppError("llama.cpp cannot steer block 0")
    data = np.zeros((max(deltas), hidden_size), dtype=np.float32)
    for block, delta in deltas.items():
        data[block - 1] = delta
    return data


def prompts_together(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Returns which prompts to compute together: in order, as many as `room` tokens hold."""
    groups: list[list[int]] = []
    used = room
    for index, length in enumerate(lengths):
        if used + length > room:
            groups.append([])
            used = 0
        groups[-1].append(index)
        used += length
    return groups


@functools.cache
def _silence() -> Any:
    """Returns a log callback that says nothing; cached, since llama.cpp keeps a pointer to it."""
    return llama_cpp.llama_log_callback(lambda _level, _text, _data: None)

"""One loaded model, used both through the project's engine and by plain forward passes.

Answers come from the engine: batched, steered per request. Plain passes read residuals and
log-probabilities of given tokens, with the same weights in memory and never at the same time.
"""

from __future__ import annotations

import hashlib
import json
import queue
import threading
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from persona_research import divergence, likelihoods, plain_pass
from persona_research.divergence import Deltas, Departure
from persona_research.errors import ResearchError
from persona_research.plain_pass import Pair
from persona_research.progress import OnDone, digest, ignore_progress
from persona_research.residuals import ResidualMeans
from triton_models.contract.chat import Chat
from triton_models.contract.request import GenerationRequest, SamplingParameters
from triton_models.contract.steering import SteeringParameters
from triton_models.engine.build import assemble_engine, load_runnable
from triton_models.engine.engine import Engine
from triton_models.engine.sequence import FinishReason, TokenChunk
from triton_models.engine.sequence import Sequence as EngineSequence
from triton_models.model.folder import find_model
from triton_models.model.loading import LoadedModel
from triton_models.model.weights_hash import weights_sha256
from triton_models.settings import DEMO, ServerSettings
from triton_models.text.chat import ChatTemplate
from triton_models.text.prompt_piece import PromptPiece, token_ids
from triton_models.vectors.calibration import ModelIdentity
from triton_models.vectors.persona_vector import PersonaVector
from triton_models.vectors.registry import VectorRegistry

_ROWS_WAITING = 4
"""How many requests wait for each row of the batch, so that no row is ever without one."""


class AnswerFailedError(ResearchError):
    """The engine could not complete an answer; the message is its own."""


@dataclass(frozen=True)
class AnswerRequest:
    """One answer to generate.

    Attributes:
        layers: The blocks to steer, or `None` for each vector's own choice.
        max_new_tokens: The most tokens to generate; the context's room caps it.
        temperature: 0 takes the likeliest token; above, every token may be chosen.
    """

    prompt_ids: list[int]
    scalars: Mapping[str, float] = field(default_factory=dict)
    layers: tuple[int, ...] | None = None
    max_new_tokens: int = 128
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Answer:
    """A generated answer; if the model `ended` it, not the limit, without the token that did."""

    prompt_ids: list[int]
    response_ids: list[int]
    text: str
    ended: bool


class ResearchModel:
    """A model with its engine running; a context manager that stops it.

    Its methods may be called from several threads; they take turns.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        engine: Engine,
        settings: ServerSettings,
        folder: Path,
        vectors: list[VectorRegistry],
    ) -> None:
        self._loaded = loaded
        self._engine = engine
        self._vectors = vectors
        self._turn = threading.Lock()
        self._most_open = settings.max_batch_rows + settings.max_waiting
        self.name = settings.shown_model_name
        self.described = ModelIdentity(self.name, weights_sha256(folder))
        """How a vector's calibration says which model it is."""
        self.tokenizer = loaded.tokenizer
        self._chat_template = ChatTemplate(loaded.tokenizer)
        self.hidden_size: int = loaded.model.architecture.hidden_size
        self.num_layers: int = loaded.model.architecture.num_layers
        self.context_length = loaded.context_length
        self.dtype = str(loaded.model.dtype).removeprefix("torch.")
        self.identity = digest(
            _files_of(folder), str(loaded.dtype), self.dtype, loaded.model.device.type
        )
        """Names the weights and how they are computed with."""

    @classmethod
    def open(
        cls,
        model: str | None = None,
        *,
        device: str = "auto",
        dtype: str | None = None,
        threads: int = 0,
        batch_rows: int = 32,
    ) -> ResearchModel:
        """Loads a model and starts an engine over it.

        Args:
            model: A folder or a hub id; `None` is the demo model.
            device: `auto`, `cpu` or `cuda`.
            dtype: `None` is float32 on the CPU and the checkpoint's own on a GPU.
            threads: CPU threads; 0 is one per core.
            batch_rows: The most answers generated at a time.

        Raises:
            ModelMissingError: The model is not on this machine.
            UnsupportedModelError: It cannot be served, or there is no such device.
            KVCacheTooSmallError: There is no memory for the keys and values of a single request.
        """
        settings = ServerSettings.read().model_copy(
            update={
                "model_name": model or DEMO,
                "device": device,
                "dtype": dtype or "auto",
                "threads": threads,
                "max_batch_rows": batch_rows,
                "max_waiting": _ROWS_WAITING * batch_rows,
            }
        )
        folder = find_model(settings)
        vectors = [VectorRegistry({}, {}, ())]
        runnable = load_runnable(folder, settings)
        engine = assemble_engine(runnable, lambda: vectors[0], settings)
        engine.start()
        return cls(runnable.loaded, engine, settings, folder, vectors)

    def __enter__(self) -> ResearchModel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops the engine; open answers fail."""
        self._engine.stop(drain_seconds=0)

    def set_vectors(self, vectors: Mapping[str, PersonaVector]) -> None:
        """Makes these the vectors that requests can name, and no others."""
        self._vectors[0] = VectorRegistry(MappingProxyType(dict(vectors)), {}, ())

    def request_key(self, request: AnswerRequest) -> str:
        """Names all that an answer depends on: the model, the request and the vectors it uses."""
        registry = self._vectors[0]
        steering = {
            trait: [scalar, _content_of(registry.get(trait))]
            for trait, scalar in request.scalars.items()
            if scalar
        }
        return digest(
            self.identity,
            request.prompt_ids,
            steering,
            request.layers if steering else None,
            request.max_new_tokens,
            request.temperature,
            request.seed if request.temperature else 0,
        )

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Returns a chat's tokens, up to where the assistant's answer begins.

        Raises:
            InvalidArgumentError: The chat template refuses the messages.
        """
        chat = Chat(tuple(dict(message) for message in messages))
        return token_ids(self.tokenizer, self._chat_template.render(chat))

    def encode_text(self, text: str) -> list[int]:
        """Returns a text's tokens; what looks like a special token is text, too."""
        return token_ids(self.tokenizer, [PromptPiece(text, parse_special=False)])

    def answers(
        self, requests: Sequence[AnswerRequest], on_done: OnDone = ignore_progress
    ) -> list[Answer]:
        """Generates answers, batched by the engine, in the requests' order.

        Raises:
            AnswerFailedError: One failed.
            RequestError: See `Engine.submit`.
        """
        answers: dict[int, Answer] = {}
        for index, answer in self.answers_as_finished(requests):
            answers[index] = answer
            on_done(len(answers))
        return [answers[index] for index in range(len(requests))]

    def answers_as_finished(
        self, requests: Sequence[AnswerRequest]
    ) -> Generator[tuple[int, Answer], None, None]:
        """Generates answers and gives each with its request's index as soon as it is finished.

        Closing it early, as on Ctrl-C, cancels those that run.

        Raises:
            AnswerFailedError: One failed.
            RequestError: See `Engine.submit`.
        """
        with self._turn:
            finished: queue.SimpleQueue[tuple[int, TokenChunk]] = queue.SimpleQueue()
            running: dict[int, EngineSequence] = {}
            waiting = iter(enumerate(requests))
            try:
                while True:
                    while len(running) < self._most_open:
                        index, request = next(waiting, (-1, None))
                        if request is None:
                            break
                        running[index] = self._submit(request, index, finished)
                    if not running:
                        return
                    index, chunk = finished.get()
                    sequence = running.pop(index)
                    yield index, self._answer(sequence, chunk)
            finally:
                for sequence in running.values():
                    self._engine.cancel(sequence)
                while running and self._engine.alive:
                    running.pop(finished.get()[0], None)

    def residual_means(
        self, pairs: Sequence[Pair], on_done: OnDone = ignore_progress
    ) -> ResidualMeans:
        """Measures the unsteered residual at every block's output over the responses' tokens."""
        with self._turn:
            return plain_pass.residual_means(self._loaded, pairs, on_done, self._engine.call)

    def projections(
        self,
        pairs: Sequence[Pair],
        directions: Mapping[int, NDArray[np.float32]],
        on_done: OnDone = ignore_progress,
    ) -> list[NDArray[np.float32]]:
        """Measures the unsteered projections of the responses' tokens: [directions, tokens] each.

        `directions` has a unit vector for each block.
        """
        with self._turn:
            return plain_pass.projections(
                self._loaded, pairs, directions, on_done, self._engine.call
            )

    def log_likelihoods(
        self, pairs: Sequence[Pair], on_done: OnDone = ignore_progress
    ) -> list[tuple[float, int]]:
        """Returns for each prompt and response the response's log-probability and its length.

        The model is not steered. A prompt must not be empty; an empty response has 0.
        """
        with self._turn:
            totals = likelihoods.log_likelihoods(self._loaded, pairs, on_done, self._engine.call)
        return [(total, len(response)) for total, (_, response) in zip(totals, pairs, strict=True)]

    def departures(
        self,
        pairs: Sequence[Pair],
        deltas: Sequence[Deltas],
        plain_prompts: Sequence[list[int]],
    ) -> list[Departure]:
        """Returns how far each response, steered, is from the unsteered model.

        The responses are read after `plain_prompts` where they are read unsteered.
        """
        with self._turn:
            return divergence.departures(
                self._loaded, pairs, deltas, plain_prompts, self._engine.call
            )

    def _submit(
        self,
        request: AnswerRequest,
        index: int,
        finished: queue.SimpleQueue[tuple[int, TokenChunk]],
    ) -> EngineSequence:
        def emit(chunk: TokenChunk) -> None:
            if chunk.finish_reason is not None:
                finished.put((index, chunk))

        room = max(self.context_length - len(request.prompt_ids), 1)
        return self._engine.submit(
            GenerationRequest(
                steering=SteeringParameters(dict(request.scalars), request.layers),
                sampling=SamplingParameters(
                    temperature=request.temperature, top_k=0, top_p=1.0, seed=request.seed
                ),
                max_tokens=min(request.max_new_tokens, room),
            ),
            request.prompt_ids,
            emit,
        )

    def _answer(self, sequence: EngineSequence, chunk: TokenChunk) -> Answer:
        if chunk.finish_reason not in (FinishReason.STOP, FinishReason.LENGTH):
            raise AnswerFailedError(chunk.error or "an answer was cancelled")
        ended = chunk.finish_reason is FinishReason.STOP
        prompt = sequence.token_ids[: sequence.num_prompt_tokens]
        response = sequence.token_ids[sequence.num_prompt_tokens :]
        if ended:
            response = response[:-1]
        return Answer(prompt, response, self.tokenizer.decode(response), ended)


def _content_of(vector: PersonaVector) -> str:
    content = hashlib.sha256(json.dumps(vector.selected_blocks).encode())
    for block in sorted(vector.blocks):
        content.update(f"{block} ".encode() + vector.blocks[block].tobytes())
    return content.hexdigest()


def _files_of(folder: Path) -> list[tuple[str, int, int]]:
    """A model's files with sizes and times: to hash gigabytes would take longer than loading."""
    return [
        (path.name, path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(folder.iterdir())
        if path.suffix in (".json", ".safetensors")
    ]

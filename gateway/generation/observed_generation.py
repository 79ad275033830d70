"""Follows a generation, and tells the observers."""

from __future__ import annotations

import time
from collections.abc import Sequence

from gateway.ensemble_request import EnsembleRequest
from gateway.errors import GatewayError
from gateway.request_record import GenerationRecord, Observer, RequestRecord
from triton_models.contract import tensors
from triton_models.grpc_messages import TritonChunk

_TEXTS = frozenset(
    {*(spec.name for spec in tensors.PROMPT_INPUTS), "stop_words", "sampling_parameters"}
)
"""Inputs that hold what users write, which no observer is given that does not want it."""

_UNOBSERVED = frozenset({"vectors"})
"""Inputs that no observer is given, whatever it wants."""

_PROMPT_TEXTS = tuple(spec.name for spec in tensors.PROMPT_INPUTS if spec.datatype == "BYTES")


class ObservedGeneration:
    """What `Generation` tells about itself."""

    def __init__(
        self,
        triton_id: str,
        asked: EnsembleRequest,
        request: RequestRecord | None,
        observers: Sequence[Observer],
    ) -> None:
        self._observers = observers
        self._keeps_text = any(observer.wants_text for observer in observers)
        self._over = False
        values = asked.values
        self._record = GenerationRecord(
            triton_id,
            request,
            streamed=asked.parsed.stream,
            steering=asked.scalars,
            operations=asked.parsed.steering.operations,
            vectors=asked.vector_digests,
            parameters={
                name: value
                for name, value in values.items()
                if name not in _TEXTS and name not in _UNOBSERVED
            },
            texts={name: values[name] for name in _TEXTS & values.keys()}
            if self._keeps_text
            else {},
            prompt_chars=sum(len(text) for name in _PROMPT_TEXTS for text in values.get(name, ())),
        )

    def began(self) -> None:
        """Notes that the request is being sent."""
        record = self._record
        record.started, record.started_ns = time.monotonic(), time.time_ns()
        if record.request is not None:
            record.request.generations.append(record)
        for observer in self._observers:
            observer.generation_began(record)

    def received(self, chunk: TritonChunk) -> None:
        """Notes a response, when it comes rather than when somebody reads it."""
        record = self._record
        if self._over:
            # The engine's answer to being stopped, after all else has been told.
            late = chunk.num_output_tokens - record.tokens
            if late > 0:
                for observer in self._observers:
                    observer.tokens_came_late(record, chunk.num_input_tokens, late)
            return
        now = time.monotonic()
        record.prompt_tokens = max(record.prompt_tokens, chunk.num_input_tokens)
        record.reused_tokens = max(record.reused_tokens, chunk.num_reused_tokens)
        count = chunk.num_output_tokens - record.tokens
        if count > 0:
            before = record.started if record.newest_token is None else record.newest_token
            for observer in self._observers:
                observer.tokens_came(record, count, now - before)
            if record.first_token is None:
                record.first_token = now
            record.newest_token = now
            record.tokens = chunk.num_output_tokens
        if self._keeps_text:
            record.answer += chunk.text
        if chunk.finish_reason:
            record.finish_reason = chunk.finish_reason
            record.limits_reached = chunk.limits_reached
            record.phases = chunk.timings
            record.ended_ns = time.time_ns()

    def ended(self, error: BaseException | None) -> None:
        """Notes that nobody reads it any more."""
        self._over = True
        record = self._record
        if isinstance(error, GatewayError):
            record.error = error
        else:
            record.given_up = error is not None or not record.finish_reason
        record.ended_ns = record.ended_ns or time.time_ns()
        for observer in self._observers:
            observer.generation_ended(record)

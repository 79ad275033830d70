"""A generation as the gateway's answer: one body, or a stream of events."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from gateway.api.field_names import BODY_NAMES, renamed
from gateway.api.response_bodies import (
    IN_PIECES,
    ConditionMet,
    Enforced,
    GenerateResponse,
    LimitReached,
)
from gateway.api.steering_fields import SteeringFields
from gateway.errors import GatewayError, InvalidRequestError
from gateway.generation.generation import Generation
from gateway.http.server_sent_events import format_event
from triton_models.grpc_messages import TritonChunk


@dataclass
class RestAnswer:
    """An answer as it grows; a baseline has neither trait nor steering."""

    trait: str | None
    scalar: float
    log_fields: dict[str, Any]
    logprobs: bool = False
    steering: SteeringFields | None = None
    _answer: TritonChunk = field(default_factory=TritonChunk)

    async def chunks(self, generation: Generation) -> AsyncGenerator[TritonChunk, None]:
        """Yields the answer's pieces as it takes them in.

        Raises:
            GatewayError: The generation failed.
        """
        # Stands in the log unless the answer comes to an end of its own.
        self.log_fields.update(
            triton_id=generation.request_id,
            trait=self.trait,
            scalar=self.scalar,
            finish_reason="abandoned",
        )
        try:
            async with generation:
                async for chunk in generation:
                    self._answer = generation.answer
                    self.log_fields["tokens"] = chunk.num_output_tokens
                    if chunk.finish_reason:
                        self.log_fields["finish_reason"] = chunk.finish_reason
                    yield chunk
        except InvalidRequestError as error:
            refusal = renamed(error, BODY_NAMES)
            self._note(refusal)
            raise refusal from error
        except GatewayError as error:
            self._note(error)
            raise

    async def complete(self, generation: Generation) -> GenerateResponse:
        """Returns the whole answer.

        Raises:
            GatewayError: The generation failed.
        """
        async with aclosing(self.chunks(generation)) as chunks:
            async for _ in chunks:
                pass
        return self.response()

    async def events(self, generation: Generation) -> AsyncGenerator[bytes, None]:
        """Yields the answer's events: chunks, then `done`.

        Raises:
            GatewayError: The generation failed.
        """
        async with aclosing(self.chunks(generation)) as chunks:
            async for chunk in chunks:
                if chunk.says_something:
                    yield format_event("chunk", self.piece(chunk))
        yield format_event("done", self.response().model_dump(exclude=IN_PIECES))

    def error_event(self, error: GatewayError) -> bytes:
        """Returns the event that ends an answer which has begun and cannot be completed."""
        self._note(error)
        return format_event("error", self.failure(error))

    def piece(self, chunk: TritonChunk) -> dict[str, Any]:
        """Returns what a `chunk` event says."""
        data: dict[str, Any] = {"text": chunk.text, "tokens_generated": chunk.num_output_tokens}
        if chunk.prompt_logprobs:
            data["prompt_logprobs"] = chunk.prompt_logprobs
        data |= {name: said for name in sorted(IN_PIECES) if (said := getattr(chunk, name))}
        return {**data, "logprobs": chunk.logprobs} if self.logprobs else data

    def response(self) -> GenerateResponse:
        """Returns what the answer says so far."""
        answer, condition = self._answer, self._answer.condition
        return GenerateResponse(
            response=answer.text,
            trait=self.trait,
            scalar=self.scalar,
            steering=self.steering,
            tokens_generated=answer.num_output_tokens,
            finish_reason=answer.finish_reason,
            prompt_tokens=answer.num_input_tokens,
            reused_tokens=answer.num_reused_tokens,
            logprobs=list(answer.logprobs) if self.logprobs else None,
            # A prompt has a token at least, so there are some if they were asked for.
            prompt_logprobs=list(answer.prompt_logprobs) or None,
            readouts=answer.readouts,
            calibrated_readouts=answer.calibrated_readouts,
            turn_readouts=list(answer.turn_readouts) or None,
            token_readouts=list(answer.token_readouts) or None,
            condition=None if condition is None else ConditionMet(**condition),
            limits_reached=[LimitReached(**each) for each in answer.limits_reached],
            enforced=None if answer.enforced is None else Enforced(**answer.enforced),
            warnings=list(answer.warnings),
        )

    def failure(self, error: GatewayError) -> dict[str, Any]:
        """Returns what the answer says so far, and that it failed."""
        failed = {"success": False, "error": error.message, "finish_reason": "error"}
        return {**self.response().model_dump(), **failed, "code": error.code}

    def _note(self, error: GatewayError) -> None:
        reason = error.detail or error.message
        self.log_fields.update(finish_reason="error", code=error.code, reason=reason)

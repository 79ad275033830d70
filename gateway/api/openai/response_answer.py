"""A response, as one body or as a stream of events."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from gateway.api.openai.response_output import CUT_SHORT, Change, ResponseOutput
from gateway.api.openai.response_requests import ResponseRequest
from gateway.api.openai.steering_report import end_report, steering_report
from gateway.ensemble_request import EnsembleRequest
from gateway.errors import GatewayError
from gateway.generation.generation import Generation
from gateway.http.server_sent_events import format_event
from triton_models.grpc_messages import TritonChunk

_ERROR_CODES = {429: "rate_limit_exceeded", 400: "invalid_prompt"}
"""What OpenAI calls why a response failed, if not `server_error`."""


class ResponseAnswer:
    """The answer to a request for a response.

    Args:
        body: What the client asked for.
        request: What the ensemble is asked for.
        generation: The answer, prepared and not yet begun.
        log_fields: What the request's log line will say.
    """

    def __init__(
        self,
        body: ResponseRequest,
        request: EnsembleRequest,
        generation: Generation,
        log_fields: dict[str, Any],
    ) -> None:
        self._body = body
        self._sampling = request.parsed.sampling
        self._generation = generation
        self._log_fields = log_fields
        self._output = ResponseOutput(body.calling.names if body.calling else ())
        self._id = f"resp_{uuid.uuid4().hex}"
        self._created_at = int(time.time())
        self._num_events = 0
        log_fields["completion"] = self._id

    async def complete(self) -> dict[str, Any]:
        """Returns the whole response.

        Raises:
            GatewayError: The generation failed.
        """
        async for _ in self._changes():
            pass
        return {**self._ended(), **steering_report(self._generation.answer)}

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Yields the events, once the answer has begun.

        Raises:
            GatewayError: The generation failed.
        """
        async for changes in self._changes():
            if not self._num_events:
                for name in ("created", "in_progress"):
                    yield self._event(name, {"response": self._response("in_progress")})
            for name, fields in changes:
                yield self._event(name, fields)
        response = {**self._ended(), **end_report(self._generation.answer)}
        yield self._event(response["status"], {"response": response})

    def error_event(self, error: GatewayError) -> bytes:
        """Returns the event that ends a stream which has begun and cannot be completed."""
        self._log_fields.update(code=error.code, reason=error.detail or error.message)
        code = _ERROR_CODES.get(error.status, "server_error")
        failure = {"code": code, "message": error.message}
        return self._event("failed", {"response": {**self._response("failed"), "error": failure}})

    async def _changes(self) -> AsyncGenerator[list[Change], None]:
        """Yields what each piece of the answer changes in the output, if anything."""
        async with self._generation as generation:
            async for chunk in generation:
                yield list(self._output.push(chunk))

    def _event(self, name: str, fields: Mapping[str, Any]) -> bytes:
        kind, number = f"response.{name}", self._num_events
        self._num_events += 1
        return format_event(kind, {"type": kind, "sequence_number": number, **fields})

    def _ended(self) -> dict[str, Any]:
        """Returns the response to an answer that has come to an end of its own."""
        answer = self._generation.answer
        cut = CUT_SHORT.get(answer.finish_reason)
        return {
            **self._response("incomplete" if cut else "completed"),
            "incomplete_details": {"reason": cut} if cut else None,
            "output": self._output.items,
            "usage": _usage(answer),
        }

    def _response(self, status: str) -> dict[str, Any]:
        body = self._body
        said = body.model_dump(
            include={"instructions", "max_output_tokens", "metadata", "model", "tools"},
        )
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created_at,
            "status": status,
            **said,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "output": [],
            "parallel_tool_calls": body.parallel_tool_calls,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": False,
            "temperature": self._sampling.temperature,
            "text": {"format": body.text.format or {"type": "text"}},
            "tool_choice": _shown_choice(body),
            "top_logprobs": body.top_logprobs or 0,
            "top_p": self._sampling.top_p,
            "truncation": "disabled",
            "usage": None,
        }


def _shown_choice(body: ResponseRequest) -> Any:
    choice = body.tool_choice
    if choice is None or choice.names is None:
        return choice.mode if choice else "auto"
    functions = [{"type": "function", "name": name} for name in choice.names]
    if choice.once:
        return functions[0]
    return {"type": "allowed_tools", "mode": choice.mode, "tools": functions}


def _usage(answer: TritonChunk) -> dict[str, Any]:
    return {
        "input_tokens": answer.num_input_tokens,
        "input_tokens_details": {
            "cached_tokens": answer.num_reused_tokens,
            "cache_write_tokens": 0,
        },
        "output_tokens": answer.num_output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": answer.num_input_tokens + answer.num_output_tokens,
    }

"""An answer to a chat that can call functions, in OpenAI's shape."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from gateway.api.openai.choice_formats import ChatChoice
from gateway.api.openai.steering_report import read_in_pieces
from gateway.api.openai.tool_call_stream import ParsedCall, ToolCallStream
from triton_models.grpc_messages import TritonChunk

_NOTHING = TritonChunk()


class CallingChoice(ChatChoice):
    """An answer to a chat that can call functions.

    A stream has each call when it is complete: first the function's name, then the arguments.

    Args:
        names: The functions.
        index: Which answer it is.
        logprobs: Whether to say how likely each token was, those of calls among them.
    """

    def __init__(self, names: Collection[str], index: int, logprobs: bool) -> None:
        super().__init__(index, logprobs)
        self._stream = ToolCallStream(names)
        self._num_calls = 0

    def whole(self, answer: TritonChunk) -> dict[str, Any]:
        """Returns the choice for a whole answer."""
        parts = [*self._stream.push(answer.text), *self._stream.finish()]
        text = "".join(part for part in parts if isinstance(part, str))
        calls = [self._begin(part) for part in parts if isinstance(part, ParsedCall)]
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if calls:
            message |= {"content": text or None, "tool_calls": calls}
        return self._around({"message": message}, self._likelihoods(answer), self._ended(answer))

    def pieces(self, chunk: TritonChunk) -> list[dict[str, Any]]:
        """Returns the choices for the next piece; the first one of all says whose turn it is."""
        parts = list(self._stream.push(chunk.text))
        if chunk.finish_reason:
            parts += self._stream.finish()
        deltas: list[dict[str, Any]] = []
        if not self._begun:
            deltas.append({"role": "assistant", "content": None})
            self._begun = True
        for part in parts:
            deltas += [{"content": part}] if isinstance(part, str) else self._deltas(part)
        if not deltas and (chunk.finish_reason or chunk.logprobs or read_in_pieces(chunk)):
            deltas.append({})
        # What the model server says of the piece as a whole goes with the last of its chunks.
        said = [*([_NOTHING] * (len(deltas) - 1)), self._ended(chunk)]
        return [
            self._around({"delta": delta}, self._likelihoods(each), each)
            for delta, each in zip(deltas, said, strict=False)
        ]

    def _deltas(self, call: ParsedCall) -> list[dict[str, Any]]:
        index = self._num_calls
        begun = self._begin(replace(call, arguments=""))
        arguments = {"index": index, "function": {"arguments": call.arguments}}
        return [{"tool_calls": [{"index": index, **begun}]}, {"tool_calls": [arguments]}]

    def _begin(self, call: ParsedCall) -> dict[str, Any]:
        """Counts a call, and returns it with an id of its own."""
        self._num_calls += 1
        return {
            "id": f"call_{uuid.uuid4().hex}",
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }

    def _ended(self, chunk: TritonChunk) -> TritonChunk:
        if chunk.finish_reason == "stop" and self._num_calls:
            return replace(chunk, finish_reason="tool_calls")
        return chunk

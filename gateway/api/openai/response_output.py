"""The output of a response as it grows: messages, and calls of functions."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from gateway.api.openai.steering_report import named, read_in_pieces
from gateway.api.openai.tool_call_stream import ParsedCall, ToolCallStream
from triton_models.grpc_messages import TritonChunk

CUT_SHORT = {"length": "max_output_tokens", "trait_limit": "content_filter"}
"""What OpenAI calls why an answer is incomplete, by why it ended."""

Change = tuple[str, Mapping[str, Any]]
"""What happened: an event's name, without the `response.` before it, and its fields."""


class ResponseOutput:
    """The items of a response.

    Args:
        names: The functions that the answer can call.

    Attributes:
        items: The items, complete but for the last one.
    """

    def __init__(self, names: Collection[str]) -> None:
        self.items: list[dict[str, Any]] = []
        self._calls = ToolCallStream(names) if names else None
        self._open: dict[str, Any] | None = None
        """The message that grows."""
        self._logprobs: list[Any] = []
        """Those of tokens whose text has not been said yet."""
        self._read: dict[str, list[Any]] = {}
        """What was read at those tokens, and in the prompt's turns."""

    def push(self, chunk: TritonChunk) -> Iterator[Change]:
        """Takes a piece of the answer, and yields what it changes."""
        self._logprobs += chunk.logprobs
        for name, said in read_in_pieces(chunk).items():
            self._read.setdefault(name, []).extend(said)
        parts: list[str | ParsedCall] = [chunk.text] if chunk.text else []
        if self._calls is not None:
            parts = list(self._calls.push(chunk.text))
            parts += self._calls.finish() if chunk.finish_reason else ()
        for part in parts:
            yield from self._add_call(part) if isinstance(part, ParsedCall) else self._add(part)
        if chunk.finish_reason:
            if self._logprobs or self._read or not self.items:
                yield from self._add("")
            is_cut = chunk.finish_reason in CUT_SHORT
            yield from self._close("incomplete" if is_cut else "completed")

    def _add(self, text: str) -> Iterator[Change]:
        """Adds text to the message that grows, or to a new one."""
        if self._open is None:
            # That a text follows a call is said by the items, not by a line end.
            text = text.removeprefix("\n") if self.items else text
            part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            item = {
                "id": f"msg_{uuid.uuid4().hex}",
                "type": "message",
                "status": "in_progress",
                "role": "assistant",
                "content": [],
            }
            self.items.append(item)
            yield "output_item.added", {"output_index": len(self.items) - 1, "item": {**item}}
            self._open = {**item, "content": [part]}
            self.items[-1] = self._open
            yield "content_part.added", {**self._place, "part": {**part}}
        part = self._open["content"][0]
        part["text"] += text
        logprobs, self._logprobs = self._logprobs, []
        part["logprobs"] += logprobs
        read, self._read = self._read, {}
        if text or logprobs or read:
            said = {"delta": text, "logprobs": logprobs, **named(read)}
            yield "output_text.delta", {**self._place, **said}

    def _close(self, status: str) -> Iterator[Change]:
        """Ends the message that grows, if there is one."""
        if self._open is None:
            return
        place, part = self._place, self._open["content"][0]
        self._open["status"] = status
        said = {"text": part["text"], "logprobs": part["logprobs"]}
        yield "output_text.done", {**place, **said}
        yield "content_part.done", {**place, "part": part}
        yield "output_item.done", {"output_index": place["output_index"], "item": self._open}
        self._open = None

    def _add_call(self, call: ParsedCall) -> Iterator[Change]:
        yield from self._close("completed")
        item = {
            "id": f"fc_{uuid.uuid4().hex}",
            "type": "function_call",
            "status": "completed",
            "call_id": f"call_{uuid.uuid4().hex}",
            "name": call.name,
            "arguments": call.arguments,
        }
        self.items.append(item)
        # Arguments are known only when the call is complete.
        index = {"output_index": len(self.items) - 1}
        place = {"item_id": item["id"], **index}
        yield (
            "output_item.added",
            {**index, "item": {**item, "status": "in_progress", "arguments": ""}},
        )
        read, self._read = self._read, {}
        yield "function_call_arguments.delta", {**place, "delta": call.arguments, **named(read)}
        done = {"name": call.name, "arguments": call.arguments}
        yield "function_call_arguments.done", {**place, **done}
        yield "output_item.done", {**index, "item": item}

    @property
    def _place(self) -> dict[str, Any]:
        """Where the text of the message that grows belongs."""
        item_id = self.items[-1]["id"]
        return {"item_id": item_id, "output_index": len(self.items) - 1, "content_index": 0}

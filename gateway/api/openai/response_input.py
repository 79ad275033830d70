"""The input of a response: the chat so far, the output of earlier responses in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from gateway.api.openai.messages import Message

_OF_THE_ITEM = frozenset({"type", "id", "status", "phase"})
"""What says which item of an earlier response one was, and that it was complete."""

_TEXT_PARTS = ("input_text", "output_text", "text")


def _as_messages(value: Any) -> Any:
    """Makes messages of items, or of a text alone."""
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    return [_as_message(item) for item in value] if isinstance(value, list) else value


def _as_message(item: Any) -> Any:
    """Makes a message of an item.

    Raises:
        ValueError: It is neither a message nor about a call of a function.
    """
    if not isinstance(item, dict):
        return item
    rest = {name: value for name, value in item.items() if name not in _OF_THE_ITEM}
    kind = item.get("type")
    if kind in (None, "message"):
        return rest | {"content": _as_text_parts(rest.get("content"))}
    if kind == "function_call":
        function = {name: rest.pop(name) for name in ("name", "arguments") if name in rest}
        call = {"id": rest.pop("call_id", None), "function": function}
        return rest | {"role": "assistant", "content": "", "tool_calls": [call]}
    if kind == "function_call_output":
        content = _as_text_parts(rest.pop("output", None))
        return rest | {
            "role": "tool",
            "content": content,
            "tool_call_id": rest.pop("call_id", None),
        }
    raise ValueError(
        f"an item of type {kind!a} is not supported: use message, function_call or "
        "function_call_output"
    )


def _as_text_parts(content: Any) -> Any:
    """Gives parts the type that texts have in chats, whoever wrote them; leaves others alone."""
    if not isinstance(content, list):
        return content
    return [
        {"type": "text", "text": part.get("text")}
        if isinstance(part, dict) and part.get("type") in _TEXT_PARTS
        else part
        for part in content
    ]


_PARTS = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"type": {"enum": _TEXT_PARTS}, "text": {"type": "string"}},
        "required": ["type", "text"],
    },
}
_ITEMS: Sequence[Mapping[str, Any]] = [
    {
        "type": "object",
        "properties": {
            "type": {"const": "message"},
            "role": {"enum": ["system", "developer", "user", "assistant"]},
            "content": {"anyOf": [{"type": "string"}, _PARTS]},
        },
        "required": ["role", "content"],
    },
    {
        "type": "object",
        "properties": {
            "type": {"const": "function_call"},
            "call_id": {"type": "string"},
            "name": {"type": "string"},
            "arguments": {"type": "string"},
        },
        "required": ["type", "call_id", "name", "arguments"],
    },
    {
        "type": "object",
        "properties": {
            "type": {"const": "function_call_output"},
            "call_id": {"type": "string"},
            "output": {"anyOf": [{"type": "string"}, _PARTS]},
        },
        "required": ["type", "call_id", "output"],
    },
]

ResponseInput = Annotated[
    list[Message],
    Field(min_length=1, fail_fast=True),
    BeforeValidator(_as_messages),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": "\\S"},
                {"type": "array", "minItems": 1, "items": {"anyOf": _ITEMS}},
            ]
        }
    ),
]


def joined_turns(messages: Sequence[Message]) -> list[Message]:
    """Returns messages of which the calls of one turn, and the text before them, are one."""
    joined: list[Message] = []
    for message in messages:
        last = joined[-1] if joined else None
        if message.tool_calls and last is not None and last.role == "assistant":
            calls = [*(last.tool_calls or ()), *message.tool_calls]
            joined[-1] = last.model_copy(update={"tool_calls": calls})
        else:
            joined.append(message)
    return joined

"""The input of a response: the chat so far, the output of earlier responses in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, WithJsonSchema

from gateway.api.field_names import FieldNames
from gateway.api.field_types import Text
from gateway.api.openai.fields import Fields
from gateway.api.openai.messages import CalledFunction, Content, Message, ToolCall

_OF_THE_ITEM = frozenset({"type", "id", "status", "phase"})
"""What says which item of an earlier response one was, and that it was complete."""

_TEXT_PARTS = ("input_text", "output_text", "text")


class _FunctionCall(Fields):
    """A call of a function."""

    ignored: ClassVar[frozenset[str]] = _OF_THE_ITEM

    call_id: Text | None = None
    name: Text
    arguments: Text

    def message(self) -> Message:
        function = CalledFunction(name=self.name, arguments=self.arguments)
        call = ToolCall(id=self.call_id, function=function)
        return Message(role="assistant", content="", tool_calls=[call])


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


class _FunctionCallOutput(Fields):
    """What a function that was called has returned."""

    ignored: ClassVar[frozenset[str]] = _OF_THE_ITEM

    call_id: Text | None = None
    output: Annotated[Content, BeforeValidator(_as_text_parts)]

    def message(self) -> Message:
        return Message(role="tool", content=self.output, tool_call_id=self.call_id)


_ABOUT_CALLS: Mapping[str, type[_FunctionCall | _FunctionCallOutput]] = {
    "function_call": _FunctionCall,
    "function_call_output": _FunctionCallOutput,
}


def _as_message(item: Any) -> Any:
    """Makes a message of an item.

    Raises:
        ValueError: It is neither a message nor about a call of a function.
    """
    if not isinstance(item, dict):
        return item
    kind = item.get("type")
    if kind in (None, "message"):
        rest = {name: value for name, value in item.items() if name not in _OF_THE_ITEM}
        return rest | {"content": _as_text_parts(rest.get("content"))}
    if isinstance(kind, str) and kind in _ABOUT_CALLS:
        return _ABOUT_CALLS[kind].model_validate(item).message()
    raise ValueError(
        f"an item of type {kind!a} is not supported: use message, function_call or "
        "function_call_output"
    )


def _as_items(value: Any) -> Any:
    """Makes items of a text alone."""
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


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
    list[Annotated[Message, BeforeValidator(_as_message)]],
    Field(min_length=1, fail_fast=True),
    BeforeValidator(_as_items),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": "\\S"},
                {"type": "array", "minItems": 1, "items": {"anyOf": _ITEMS}},
            ]
        }
    ),
]


def chat_of(instructions: str | None, items: Sequence[Message]) -> tuple[list[Message], FieldNames]:
    """Returns the chat of a response, and what the client calls its parts.

    The calls of one turn, and the text before them, are one message of it.
    """
    messages: list[Message] = []
    names: dict[str, str] = {}
    if instructions:
        messages.append(Message(role="system", content=instructions))
        names["messages[0]"] = "instructions"
    for index, item in enumerate(items):
        calls = item.tool_calls or []
        last = messages[-1] if messages else None
        if calls and last is not None and last.role == "assistant":
            calls = [*(last.tool_calls or ()), *calls]
            messages[-1] = last.model_copy(update={"tool_calls": calls})
        else:
            messages.append(item)
            names[f"messages[{len(messages) - 1}]"] = f"input[{index}]"
        if calls:
            place = f"messages[{len(messages) - 1}].tool_calls[{len(calls) - 1}].function"
            names[place] = f"input[{index}]"
    return messages, names

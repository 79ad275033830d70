"""The turns of a chat, as OpenAI's clients send them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from gateway.api.field_types import Text
from gateway.api.openai.fields import Fields, Refusal

TEXT_ONLY = "the model reads and writes text only"
USE_TOOLS = "OpenAI has replaced functions by tools, and function_call by tool_choice: use these"

_TEXT: Mapping[str, Any] = {"type": "string"}
_PART: Mapping[str, Any] = {
    "type": "object",
    "properties": {"type": {"const": "text"}, "text": _TEXT},
    "required": ["type", "text"],
}


def one_or_list(one: Mapping[str, Any], items: Mapping[str, Any], least: int) -> WithJsonSchema:
    """Documents a field that is one value or a list of several."""
    return WithJsonSchema({"anyOf": [one, {"type": "array", "items": items, "minItems": least}]})


def _joined(content: Any) -> Any:
    """Joins the parts of a message's content.

    Raises:
        ValueError: One is not text.
    """
    if not isinstance(content, list):
        return content
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else type(part).__name__
        if kind != "text" or not isinstance(part.get("text"), str):
            raise ValueError(f"a part of type {kind!a} is not supported: {TEXT_ONLY}")
        texts.append(part["text"])
    return "\n".join(texts)


Content = Annotated[Text, BeforeValidator(_joined), one_or_list(_TEXT, _PART, 0)]
"""A text, which may come as parts of type `text`."""


class CalledFunction(Fields):
    """A function, and what it was called with."""

    name: Text
    arguments: Text = Field(description="A JSON object as text.")


class ToolCall(Fields):
    """A call of a function."""

    ignored: ClassVar[frozenset[str]] = frozenset({"index", "provider_specific_fields"})

    id: Text | None = None
    type: Literal["function"] = "function"
    function: CalledFunction


class Message(Fields):
    """One turn of a chat."""

    # The last two are what other models' servers and clients put into their answers.
    ignored: ClassVar[frozenset[str]] = frozenset(
        {"name", "refusal", "annotations", "reasoning_content", "provider_specific_fields"}
    )
    refused: ClassVar[Mapping[str, Refusal]] = {
        "function_call": Refusal(USE_TOOLS),
        "audio": Refusal(TEXT_ONLY),
    }

    role: Annotated[
        Literal["system", "developer", "user", "assistant", "tool"],
        AfterValidator(lambda role: "system" if role == "developer" else role),
    ]
    content: Content = Field(
        description=(
            "A text, or parts of type `text`, which are joined by line ends. It may be left out "
            "beside `tool_calls`."
        ),
    )
    tool_calls: list[ToolCall] | None = Field(
        default=None, fail_fast=True, description="What the assistant called."
    )
    tool_call_id: Text | None = Field(
        default=None, description="Which call a message of the role `tool` answers."
    )

    @model_validator(mode="before")
    @classmethod
    def _content_beside_calls(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("tool_calls") and data.get("content") is None:
            return {**data, "content": ""}
        return data

    @model_validator(mode="after")
    def _agrees(self) -> Message:
        # As clients dump answers without calls.
        if not self.tool_calls:
            self.tool_calls = None
        elif self.role != "assistant":
            raise ValueError(f"tool_calls are an assistant's, not a {self.role}'s: leave them out")
        if self.tool_call_id is not None and self.role != "tool":
            raise ValueError("tool_call_id belongs to a message of the role tool: leave it out")
        return self

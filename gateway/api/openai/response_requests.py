"""The body of a request for a response, as OpenAI's newer API calls an answer to a chat."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from gateway.api.field_names import FieldNames
from gateway.api.field_types import TOP_LOGPROBS_RANGE, Boolean, Int32, Text, shown_range
from gateway.api.openai.fields import Fields, Refusal
from gateway.api.openai.format_fields import Format, of_response_format
from gateway.api.openai.messages import Message
from gateway.api.openai.requests import GenerationFields
from gateway.api.openai.response_input import ResponseInput, chat_of
from gateway.api.openai.tool_choice import ToolChoice, choice_of, shown_choice
from gateway.api.openai.tools import (
    MAX_TOOLS,
    Calling,
    Function,
    Tool,
    calling,
    check_tools,
)
from gateway.api.steering_examples import EXAMPLE_STEERING

_NOTHING_STORED = "nothing is stored: send the whole chat as input"
_ALL_OR_NOTHING = "a chat that is too long for the model is refused"
_LOGPROBS = "message.output_text.logprobs"


class ResponseTool(Function):
    """A function that the model can call."""

    type: Literal["function"]

    @model_validator(mode="before")
    @classmethod
    def _is_function(cls, data: Any) -> Any:
        kind = data.get("type", "function") if isinstance(data, dict) else "function"
        if kind != "function":
            raise ValueError(f"a tool of type {kind!a} is not supported: offer functions")
        return data


def _name_of(tool: Any) -> str | None:
    name = tool.get("name") if isinstance(tool, dict) else None
    return name if isinstance(name, str) and tool.get("type") == "function" else None


def _as_choice(choice: Any) -> Any:
    return choice_of(choice, _name_of, choice, '{"type": "function", "name": "..."}')


_NAMED = {
    "type": "object",
    "properties": {"type": {"const": "function"}, "name": {"type": "string"}},
    "required": ["type", "name"],
}

ResponseToolChoice = Annotated[
    ToolChoice,
    BeforeValidator(_as_choice),
    shown_choice(_NAMED, lambda properties: properties),
]


def _as_format(format: dict[str, Any]) -> Format:
    """Reads what chats have as `response_format`, which says a schema's fields one level deeper.

    Raises:
        ValueError: It is not one that can be followed.
    """
    if format.get("type") != "json_schema":
        return of_response_format(format)
    schema = {name: value for name, value in format.items() if name != "type"}
    return of_response_format({"type": "json_schema", "json_schema": schema})


class TextOptions(Fields):
    """What the text of the answer is to be like."""

    refused: ClassVar[Mapping[str, Refusal]] = {
        "verbosity": Refusal("answers have no levels of detail", ("medium",)),
    }

    format: Annotated[dict[str, Any], AfterValidator(_as_format)] | None = Field(
        default=None,
        description="What the answer has to match: `text`, `json_object` or `json_schema`.",
    )


class ReasoningOptions(Fields):
    """How to reason, which the model does not."""

    ignored: ClassVar[frozenset[str]] = frozenset({"summary", "generate_summary"})
    refused: ClassVar[Mapping[str, Refusal]] = {
        "effort": Refusal("the model does not reason", ("none",)),
    }


class ResponseRequest(GenerationFields):
    """A chat to be answered."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "persona",
                    "input": "How do I boil an egg?",
                    "max_output_tokens": 60,
                    "steering": EXAMPLE_STEERING,
                }
            ]
        }
    )

    ignored: ClassVar[frozenset[str]] = GenerationFields.ignored - {"metadata"} | {
        "stream_options",
        "max_tool_calls",
        "prompt_cache_options",
    }
    refused: ClassVar[Mapping[str, Refusal]] = {
        "previous_response_id": Refusal(_NOTHING_STORED),
        "conversation": Refusal(_NOTHING_STORED),
        "prompt": Refusal("no prompts are stored: send yours as instructions and input"),
        "prompt_logprobs": Refusal("no response reports its prompt: ask /v1/chat/completions"),
        "background": Refusal("a response is sent to who asks for it", (False,)),
        "truncation": Refusal(_ALL_OR_NOTHING, ("disabled",)),
        "context_management": Refusal(_ALL_OR_NOTHING, ([],)),
        "moderation": Refusal("nothing is moderated"),
    }

    input: ResponseInput = Field(
        description="The user's text, or the chat so far, earlier responses' output in it."
    )
    instructions: Text | None = Field(default=None, description="The system's turn, before all.")
    max_output_tokens: Int32 | None = Field(
        default=None,
        description="The most tokens to generate. Default: MAX_TOKENS (200).",
        json_schema_extra=shown_range(1),
    )
    metadata: Annotated[dict[Text, Text], Field(max_length=16)] = Field(
        default={}, description="Said again in the response."
    )
    text: TextOptions = TextOptions()
    reasoning: ReasoningOptions = ReasoningOptions()
    tools: Annotated[list[ResponseTool], Field(max_length=MAX_TOOLS, fail_fast=True)] = Field(
        default=[], description="What the model can call."
    )
    tool_choice: ResponseToolChoice | None = Field(
        default=None,
        description=(
            "Whether the model must not, may, or must call a function, or which. Default: it may."
        ),
    )
    parallel_tool_calls: Boolean = Field(
        default=True, description="Whether an answer can have several calls."
    )
    include: list[Text] = Field(
        default=[], description=f"`{_LOGPROBS}` reports how likely each token was."
    )
    top_logprobs: Int32 | None = Field(
        default=None,
        description="Reports so many of the likeliest tokens too, 0 to 20.",
        json_schema_extra=TOP_LOGPROBS_RANGE,
    )

    @cached_property
    def calling(self) -> Calling | None:
        """What the answer may call, if anything."""
        answer = self.format.get("schema", {"type": "object"}) if self.format else None
        return calling(self._functions(), self.tool_choice, self.parallel_tool_calls, answer)

    @property
    def format(self) -> Format | None:
        """What the answer's text must match; `None` for free text, or if it has to be a call."""
        has_to_call = self.tool_choice is not None and self.tool_choice.mode == "required"
        free = self.text.format in (None, {"type": "text"})
        return None if has_to_call or free else self.text.format

    @property
    def messages(self) -> list[Message]:
        """The chat."""
        return self._chat[0]

    @property
    def field_names(self) -> FieldNames:
        """See `GenerationFields`."""
        names = {**super().field_names, "text_input": "input", "logprobs": "top_logprobs"}
        if self.max_tokens is None:
            names["max_tokens"] = "max_output_tokens"
        return {**names, "format": "text.format", **self._chat[1]}

    @cached_property
    def _chat(self) -> tuple[list[Message], FieldNames]:
        return chat_of(self.instructions, self.input)

    @property
    def num_logprobs(self) -> int | None:
        """How many of the likeliest tokens to report; `None` to report nothing."""
        return (self.top_logprobs or 0) if _LOGPROBS in self.include else self.top_logprobs

    @model_validator(mode="after")
    def _agrees(self) -> ResponseRequest:
        check_tools(self._functions(), self.tool_choice)
        if self.max_tokens is not None and self.max_output_tokens is not None:
            raise ValueError("max_output_tokens is another name of max_tokens: give one")
        return self

    def _functions(self) -> list[Tool]:
        return [Tool.model_construct(type="function", function=tool) for tool in self.tools]

"""The bodies of OpenAI's requests, as far as they can be served."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    WithJsonSchema,
    model_validator,
)

from gateway.api.comparison_bodies import MAX_ANSWERS
from gateway.api.field_names import BODY_NAMES, FieldNames, renamed
from gateway.api.field_types import (
    TOP_LOGPROBS_RANGE,
    Boolean,
    Int32,
    Text,
    shown_range,
)
from gateway.api.monitor_fields import MonitorFields
from gateway.api.openai.fields import Fields, Refusal
from gateway.api.openai.format_fields import FormatFields
from gateway.api.openai.messages import TEXT_ONLY, USE_TOOLS, Message
from gateway.api.openai.tool_choice import ToolChoiceField
from gateway.api.openai.tools import (
    MAX_TOOLS,
    Calling,
    Tool,
    calling,
    check_tools,
    named_tools,
)
from gateway.api.openai.vllm_fields import VLLM_FIELDS
from gateway.api.request_bodies import Sampling
from gateway.api.steering_examples import EXAMPLE_STEERING, EXAMPLES_OF_EACH_KIND
from gateway.api.steering_fields import SteeringFields
from gateway.api.vector_fields import Vectors
from gateway.errors import InvalidRequestError
from triton_models.contract.steering import MAX_TRAIT_CHARS, MAX_TRAITS

_MAX_MODEL_NAME = MAX_TRAITS * (MAX_TRAIT_CHARS + 40)
"""Characters of a model's name, which may hold traits and scalars."""

_NO_SEARCH = "the model searches nothing by itself: offer it tools"
_NOT_ADJUSTABLE = "the model does not reason and its answers have no levels of detail"

_NOT_RANKED = "answers are not ranked: ask for n of them"

_EXAMPLE_TOOL: JsonValue = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
        },
    },
}


def _as_prompts(prompt: Any) -> Any:
    """Makes a list of what may be one prompt or several.

    Raises:
        ValueError: One is empty, or is neither text nor a list of token ids.
    """
    if isinstance(prompt, list) and prompt and all(map(_is_token_id, prompt)):
        return [prompt]
    prompts = prompt if isinstance(prompt, list) else [prompt]
    for each in prompts:
        if isinstance(each, list) and all(map(_is_token_id, each)):
            is_empty = not each
        elif isinstance(each, str):
            is_empty = not each.strip()
        else:
            raise ValueError("a prompt is a text, or a list of token ids from 0 to 2147483647")
        if is_empty:
            raise ValueError("the prompt is empty: give it some text, or token ids")
    return prompts


def _is_token_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


_TEXT_PROMPT: Mapping[str, Any] = {"type": "string", "pattern": "\\S"}
_TOKEN_PROMPT: Mapping[str, Any] = {
    "type": "array",
    "items": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
    "minItems": 1,
}
_SHOWN_PROMPT = WithJsonSchema(
    {
        "anyOf": [
            _TEXT_PROMPT,
            _TOKEN_PROMPT,
            {"type": "array", "items": {"anyOf": [_TEXT_PROMPT, _TOKEN_PROMPT]}, "minItems": 1},
        ]
    }
)


class StreamOptions(Fields):
    """What a stream says besides the answer."""

    ignored: ClassVar[frozenset[str]] = frozenset({"include_obfuscation"})

    include_usage: Boolean = Field(
        default=False, description="Whether the last chunk, without choices, has the `usage`."
    )
    continuous_usage_stats: Boolean = Field(
        default=False,
        description="Whether, with `include_usage`, every chunk has the `usage` so far, as vLLM's.",
    )


class RequestSteering(Fields, MonitorFields, SteeringFields):
    """What to steer the answer by, and what to read meanwhile.

    The model's name can say the traits instead.
    """

    vectors: Vectors | None = None


class GenerationFields(Fields, Sampling):
    """What every request takes that generates."""

    ignored: ClassVar[frozenset[str]] = frozenset(
        {
            "user",
            "safety_identifier",
            "metadata",
            "store",
            "service_tier",
            "prompt_cache_key",
            "prompt_cache_retention",
            "guided_decoding_backend",
        }
    )

    model: Text = Field(
        max_length=_MAX_MODEL_NAME,
        description="What `/v1/models` lists, or `persona:` with traits and scalars of your own.",
    )
    stream: Boolean = Field(default=False, description="Answer with server-sent events.")
    steering: RequestSteering = RequestSteering()

    @cached_property
    def calling(self) -> Calling | None:
        """What the answer may call, if anything."""
        return None

    @property
    def field_names(self) -> FieldNames:
        """What the client calls fields that the model server calls otherwise."""
        names = ("layers", "monitor_layers", "monitor_tokens", "vectors")
        return {**BODY_NAMES, **{name: f"steering.{name}" for name in names}}

    def named(self, error: InvalidRequestError) -> InvalidRequestError:
        """Returns why the model server refused the request, in terms of what the client sent."""
        names = self.field_names
        if self.calling is not None and self.calling.grammar is not None:
            # Then the format is not the client's, but made of its tools.
            error, names = named_tools(error), {**names, "format": "tools"}
        return renamed(error, names)


class CompletionFields(FormatFields, GenerationFields):
    """What both kinds of completion take."""

    n: int = Field(default=1, ge=1, le=MAX_ANSWERS, description="How many answers to each prompt.")
    stream_options: StreamOptions = StreamOptions()
    prompt_logprobs: Int32 | None = Field(
        default=None,
        description=(
            "Report how likely each token of the prompt was, and so many of the likeliest at its "
            "place, 0 to 20, as vLLM does."
        ),
        json_schema_extra=TOP_LOGPROBS_RANGE,
    )

    @property
    def field_names(self) -> FieldNames:
        """See `GenerationFields`."""
        return {**super().field_names, **self.format_names}


_STEERED_EXAMPLES: list[JsonValue] = [
    {
        "model": "persona",
        "messages": [{"role": "user", "content": "How do I boil an egg?"}],
        "max_tokens": 60,
        "steering": steering,
    }
    for steering in EXAMPLES_OF_EACH_KIND
]


class ChatRequest(CompletionFields):
    """A chat to be answered."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "persona",
                    "messages": [{"role": "user", "content": "How do I boil an egg?"}],
                    "max_tokens": 60,
                    "steering": EXAMPLE_STEERING,
                },
                {
                    "model": "persona",
                    "messages": [{"role": "user", "content": "Will it rain in Rome?"}],
                    "max_tokens": 60,
                    "tools": [_EXAMPLE_TOOL],
                    "tool_choice": "required",
                },
                *_STEERED_EXAMPLES,
            ]
        }
    )

    refused: ClassVar[Mapping[str, Refusal]] = {
        "functions": Refusal(USE_TOOLS, ([],)),
        "function_call": Refusal(USE_TOOLS, ("none", "auto")),
        "web_search_options": Refusal(_NO_SEARCH),
        "audio": Refusal(TEXT_ONLY),
        "modalities": Refusal(TEXT_ONLY, (["text"],)),
        "prediction": Refusal("answers are not predicted"),
        "reasoning_effort": Refusal(_NOT_ADJUSTABLE, ("none",)),
        "verbosity": Refusal(_NOT_ADJUSTABLE, ("medium",)),
        "best_of": Refusal(_NOT_RANKED, (1,)),
        **VLLM_FIELDS,
    }

    messages: list[Message] = Field(
        fail_fast=True, min_length=1, description="The chat so far, its turns in any order."
    )
    add_generation_prompt: Boolean | None = Field(
        default=None,
        description=(
            "Whether the answer begins a turn of the assistant's, as vLLM takes it. Default: true, "
            "unless `continue_final_message` is."
        ),
    )
    continue_final_message: Boolean | None = Field(
        default=None,
        description=(
            "Whether the answer goes on after the text of the last message, as vLLM takes it."
        ),
    )
    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS, fail_fast=True)] = Field(
        default=[], description="What the model can call."
    )
    tool_choice: ToolChoiceField | None = Field(
        default=None,
        description=(
            "Whether the model must not, may, or must call a function, or which. Default: it may."
        ),
    )
    parallel_tool_calls: Boolean = Field(
        default=True, description="Whether an answer can have several calls."
    )
    max_completion_tokens: Int32 | None = Field(
        default=None,
        description="OpenAI's newer name of `max_tokens`.",
        json_schema_extra=shown_range(0),
    )
    logprobs: Boolean = Field(default=False, description="Report how likely each token was.")
    top_logprobs: Int32 | None = Field(
        default=None,
        description="With `logprobs`, so many of the likeliest tokens, 0 to 20.",
        json_schema_extra=TOP_LOGPROBS_RANGE,
    )

    @property
    def field_names(self) -> FieldNames:
        """See `GenerationFields`."""
        names = {**super().field_names, "logprobs": "top_logprobs"}
        if self.max_completion_tokens is not None:
            names["max_tokens"] = "max_completion_tokens"
        return names

    @cached_property
    def calling(self) -> Calling | None:
        """What the answer may call, if anything."""
        answer = None
        if self.format is not None:
            answer = self.format.get("schema", {"type": "object"})
        return calling(self.tools, self.tool_choice, self.parallel_tool_calls, answer)

    @model_validator(mode="after")
    def _agrees(self) -> ChatRequest:
        check_tools(self.tools, self.tool_choice)
        if self.tools and self.format and not self.format["type"].startswith("json"):
            raise ValueError(
                "tools go only with a format of JSON: what matches another one could be no call"
            )
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise ValueError("max_completion_tokens is another name of max_tokens: give one")
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs: true")
        if self.prompt_logprobs is not None and self.stream:
            raise ValueError("prompt_logprobs of a chat are not streamed: leave out stream")
        return self


class CompletionRequest(CompletionFields):
    """Prompts to be continued, as they are, without a chat template."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "persona",
                    "prompt": "Boiling an egg is",
                    "max_tokens": 60,
                    "steering": EXAMPLE_STEERING,
                }
            ]
        }
    )

    refused: ClassVar[Mapping[str, Refusal]] = {
        "suffix": Refusal("the model only continues texts", ("",)),
        "best_of": Refusal(_NOT_RANKED, (1,)),
        **VLLM_FIELDS,
    }

    prompt: Annotated[list[Text | list[int]], BeforeValidator(_as_prompts), _SHOWN_PROMPT] = Field(
        min_length=1,
        max_length=MAX_ANSWERS,
        description="A text or token ids, or several of them, each of which is continued.",
    )
    echo: Boolean = Field(
        default=False,
        description=(
            "Whether the answer begins with the prompt; with `logprobs`, those of its tokens too."
        ),
    )
    parse_special: Boolean | None = Field(
        default=None,
        description=(
            "Whether names of special tokens in the prompt, such as `<|im_end|>`, stand for those "
            "tokens. Default: true."
        ),
    )
    logprobs: Int32 | None = Field(
        default=None,
        description="Report how likely each token was, and so many of the likeliest, 0 to 20.",
        json_schema_extra=TOP_LOGPROBS_RANGE,
    )

    @property
    def field_names(self) -> FieldNames:
        """See `GenerationFields`."""
        names = {**super().field_names, "prompt_ids": "prompt"}
        if self.prompt_logprobs is None:
            names["prompt_logprobs"] = "logprobs"
        return names

    @property
    def scored(self) -> int | None:
        """As `prompt_logprobs`, which `echo` with `logprobs` stands for as well."""
        return self.logprobs if self.echo and self.logprobs is not None else self.prompt_logprobs

    @model_validator(mode="after")
    def _agrees(self) -> CompletionRequest:
        if self.prompt_logprobs not in (None, self.scored):
            raise ValueError(
                "echo makes logprobs report the prompt: give the same number as prompt_logprobs, "
                "or leave that out"
            )
        if len(self.prompt) * self.n > MAX_ANSWERS:
            raise ValueError(f"prompt and n ask for more than {MAX_ANSWERS} answers: ask for fewer")
        return self

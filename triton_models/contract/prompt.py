"""A request's prompt, parsed and validated from its tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from triton_models.contract.chat import Chat, Message, parse_messages
from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.json_input import parse_json
from triton_models.contract.tensors import Values
from triton_models.contract.tools import EXAMPLE, parse_tools

_CHAT_INPUTS = ("system_prompt", "tools", "add_generation_prompt", "continue_final_message")
"""Inputs that only a chat can have."""


@dataclass(frozen=True, slots=True)
class RawText:
    """A text that goes to the model without the chat template.

    Attributes:
        text: The text.
        parse_special: Whether names of special tokens in it, such as `<|im_end|>`, stand for those
            tokens; else they are text like any other.
    """

    text: str
    parse_special: bool = True


@dataclass(frozen=True, slots=True)
class TokenIds:
    """A prompt that is tokens already."""

    ids: tuple[int, ...]


Prompt = Chat | RawText | TokenIds
"""What the model is to answer, or to continue."""


def prompt_of(values: Values) -> Prompt:
    """Parses the prompt from the values of a request's tensors.

    Raises:
        InvalidArgumentError: See `parse_prompt`.
    """
    messages = _single(values, "messages", "")
    example = '[{"role": "user", "content": "..."}]'
    return parse_prompt(values, parse_json("messages", messages, example) if messages else None)


def parse_prompt(values: Values, messages: Any | None) -> Prompt:
    """Parses a prompt.

    Args:
        values: The request's tensors.
        messages: What `messages` among them says, if it is given: a list of objects.

    Raises:
        InvalidArgumentError: The prompt is empty, malformed, or contradictory.
    """
    text_input = str(_single(values, "text_input", ""))
    raw = bool(_single(values, "raw", False))
    if len(values.get("prompt_ids", ())):
        return _token_ids(values)
    if messages is not None:
        if text_input:
            raise InvalidArgumentError(
                "text_input and messages are both given: leave text_input empty when you send "
                "messages"
            )
        if raw:
            raise InvalidArgumentError(
                "raw needs text_input: messages are always rendered by the chat template"
            )
        return _chat(values, parse_messages(messages))
    if not text_input.strip():
        raise InvalidArgumentError(
            "the prompt is empty: text_input must hold text, or messages a chat"
        )
    if not raw:
        return _chat(values, ({"role": "user", "content": text_input},))
    for name in _CHAT_INPUTS:
        if _single(values, name, None):
            raise InvalidArgumentError(
                f"raw and {name} exclude each other: put what the model is to read into text_input"
            )
    return RawText(text_input, bool(_single(values, "parse_special", True)))


def _token_ids(values: Values) -> TokenIds:
    for name in ("text_input", "messages", "raw", "parse_special", *_CHAT_INPUTS):
        if _single(values, name, None):
            raise InvalidArgumentError(
                f"prompt_ids and {name} exclude each other: token ids are the whole prompt"
            )
    return TokenIds(tuple(values["prompt_ids"]))


def _chat(values: Values, messages: tuple[Message, ...]) -> Chat:
    if _single(values, "parse_special", None) is not None:
        raise InvalidArgumentError(
            "parse_special needs raw: names of special tokens in a chat are always text"
        )
    goes_on = bool(_single(values, "continue_final_message", False))
    opens = bool(_single(values, "add_generation_prompt", not goes_on))
    if goes_on and opens:
        raise InvalidArgumentError(
            "continue_final_message and add_generation_prompt exclude each other: the answer "
            "either goes on after the last message or is a turn of its own"
        )
    if goes_on and messages[-1].get("tool_calls"):
        raise InvalidArgumentError(
            "continue_final_message needs a last message of text, not one with tool_calls"
        )
    system_prompt = _single(values, "system_prompt", "")
    if system_prompt:
        messages = ({"role": "system", "content": system_prompt}, *messages)
    tools = _single(values, "tools", "")
    return Chat(
        messages,
        parse_tools(parse_json("tools", tools, EXAMPLE)) if tools else (),
        opens,
        goes_on,
        has_system_prompt=bool(system_prompt),
    )


def _single(values: Values, name: str, default: Any) -> Any:
    return values[name][0] if values.get(name) else default

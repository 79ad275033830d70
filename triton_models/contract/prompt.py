"""A request's prompt, parsed and validated from its tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.tensors import Values

Message = dict[str, str]
"""`{"role": "system" | "user" | "assistant", "content": "..."}`."""

_ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is to answer: either chat messages or raw text.

    Attributes:
        messages: A chat that ends with a user turn, or `None` for raw text.
        raw_text: The text for the model, unchanged, if `messages` is `None`.
    """

    messages: tuple[Message, ...] | None
    raw_text: str = ""


def prompt_of(values: Values) -> Prompt:
    """Parses the prompt from the values of a request's tensors.

    Raises:
        InvalidArgumentError: See `parse_prompt`.
    """

    def single(name: str, default: Any) -> Any:
        return values[name][0] if values.get(name) else default

    messages = single("messages", None)
    return parse_prompt(
        single("text_input", ""),
        messages=_parse_json(messages) if messages else None,
        system_prompt=single("system_prompt", None),
        raw=single("raw", False),
    )


def parse_prompt(
    text_input: str, *, messages: Any | None, system_prompt: str | None, raw: bool
) -> Prompt:
    """Parses a prompt.

    Args:
        text_input: The user turn; `""` if `messages` is given.
        messages: A whole chat, as JSON gives it: a list of objects.
        system_prompt: The system turn, unless `messages` has one.
        raw: Whether `text_input` goes to the model without the chat template.

    Raises:
        InvalidArgumentError: The prompt is empty, malformed, or contradictory.
    """
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
        return Prompt(_with_system(_parse_messages(messages), system_prompt))
    if not text_input.strip():
        raise InvalidArgumentError(
            "the prompt is empty: text_input must hold text, or messages a chat"
        )
    if raw:
        if system_prompt:
            raise InvalidArgumentError(
                "raw and system_prompt exclude each other: put the system turn into text_input"
            )
        return Prompt(None, text_input)
    return Prompt(_with_system(({"role": "user", "content": text_input},), system_prompt))


def _with_system(messages: tuple[Message, ...], system_prompt: str | None) -> tuple[Message, ...]:
    if not system_prompt:
        return messages
    if messages[0]["role"] == "system":
        raise InvalidArgumentError(
            "there are two system turns: give system_prompt or a system message, not both"
        )
    return ({"role": "system", "content": system_prompt}, *messages)


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentError(
            f'messages is not valid JSON ({error}): send [{{"role": "user", "content": "..."}}]'
        ) from error


def _parse_messages(document: Any) -> tuple[Message, ...]:
    if not isinstance(document, list) or not document:
        raise InvalidArgumentError("messages must be a JSON array with at least one message")
    messages = tuple(_parse_message(index, item) for index, item in enumerate(document))
    if messages[-1]["role"] != "user":
        raise InvalidArgumentError(
            f"messages must end with a user message, not {messages[-1]['role']}: the model answers "
            "the last one"
        )
    if not messages[-1]["content"].strip():
        raise InvalidArgumentError("the last message is empty: its content must hold text")
    return messages


def _parse_message(index: int, item: Any) -> Message:
    if not isinstance(item, Mapping) or set(item) != {"role", "content"}:
        raise InvalidArgumentError(f'messages[{index}] must be {{"role": "...", "content": "..."}}')
    role, content = item["role"], item["content"]
    if role not in _ROLES:
        raise InvalidArgumentError(
            f"messages[{index}] has the role {role!r}: use one of {', '.join(_ROLES)}"
        )
    if role == "system" and index:
        raise InvalidArgumentError(f"messages[{index}] is a system message: it must come first")
    if not isinstance(content, str) or not _is_unicode(content):
        raise InvalidArgumentError(f"messages[{index}] has a content that is not text")
    return {"role": role, "content": content}


def _is_unicode(text: str) -> bool:
    """Whether text can be encoded as UTF-8: JSON can also contain half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

"""A chat to be answered, parsed and validated from JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from triton_models.contract.errors import InvalidArgumentError

Message = dict[str, Any]
"""`{"role": "system" | "user" | "assistant", "content": "..."}`."""

_ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Chat:
    """A chat for the model's chat template.

    Attributes:
        messages: Its turns, at least one.
        add_generation_prompt: Whether the prompt ends with the beginning of an assistant's turn.
        continue_final_message: Whether the answer goes on after the text of the last turn.
        has_system_prompt: Whether the first message came separately, as `system_prompt`.
    """

    messages: tuple[Message, ...]
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    has_system_prompt: bool = False

    def place(self, index: int) -> str:
        """Returns what the client calls the message with this index."""
        index -= self.has_system_prompt
        return "system_prompt" if index < 0 else f"messages[{index}]"


def parse_messages(document: Any) -> tuple[Message, ...]:
    """Parses a chat's turns.

    Args:
        document: As JSON gives them: a list of objects.

    Raises:
        InvalidArgumentError: It is malformed.
    """
    if not isinstance(document, list) or not document:
        raise InvalidArgumentError("messages must be a JSON array with at least one message")
    return tuple(_parse_message(f"messages[{index}]", item) for index, item in enumerate(document))


def parse_json(name: str, text: str, example: str) -> Any:
    """Parses an input that is JSON.

    Args:
        name: The input's name.
        text: Its value.
        example: What would be right.

    Raises:
        InvalidArgumentError: It is not JSON, or contains half of a surrogate pair, which is no
            text.
    """
    try:
        document = json.loads(text)
        json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"{name} is not valid JSON ({error}): send {example}") from error
    return document


def _parse_message(place: str, item: Any) -> Message:
    if not isinstance(item, Mapping) or set(item) != {"role", "content"}:
        raise InvalidArgumentError(f'{place} must be {{"role": "...", "content": "..."}}')
    role, content = item["role"], item["content"]
    if role not in _ROLES:
        raise InvalidArgumentError(f"{place} has the role {role!r}: use one of {', '.join(_ROLES)}")
    if not isinstance(content, str):
        raise InvalidArgumentError(f"{place} has a content that is not text")
    return {"role": role, "content": content}

"""A chat to be answered, parsed and validated from JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.tools import Tool, parse_tool_calls

Message = dict[str, Any]
"""`{"role": "...", "content": "..."}`, and what else its role has; see `_FIELDS`."""

_FIELDS: Mapping[str, frozenset[str]] = {
    "system": frozenset(),
    "user": frozenset(),
    "assistant": frozenset({"tool_calls"}),
    "tool": frozenset({"tool_call_id", "name"}),
}
"""For each role what its messages may have besides a content. A `tool` answers a call."""


@dataclass(frozen=True, slots=True)
class Chat:
    """A chat for the model's chat template.

    Attributes:
        messages: Its turns, at least one.
        tools: What the model is offered to call.
        add_generation_prompt: Whether the prompt ends with the beginning of an assistant's turn.
        continue_final_message: Whether the answer goes on after the text of the last turn.
        has_system_prompt: Whether the first message came separately, as `system_prompt`.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
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


def _parse_message(place: str, item: Any) -> Message:
    if not isinstance(item, Mapping) or not {"role", "content"} <= set(item):
        raise InvalidArgumentError(f'{place} must be {{"role": "...", "content": "..."}}')
    role, content = item["role"], item["content"]
    if not isinstance(role, str) or role not in _FIELDS:
        raise InvalidArgumentError(
            f"{place} has the role {role!r}: use one of {', '.join(_FIELDS)}"
        )
    for name in item:
        if name not in ("role", "content") and name not in _FIELDS[role]:
            raise InvalidArgumentError(f"{place} has {name!r}, which no {role} message has")
    if not isinstance(content, str):
        raise InvalidArgumentError(f"{place} has a content that is not text")
    message: Message = {"role": role, "content": content}
    if item.get("tool_calls"):
        message["tool_calls"] = parse_tool_calls(f"{place}.tool_calls", item["tool_calls"])
    for name in ("tool_call_id", "name"):
        if name in item:
            if not isinstance(item[name], str):
                raise InvalidArgumentError(f"{place}.{name} is not text")
            message[name] = item[name]
    return message

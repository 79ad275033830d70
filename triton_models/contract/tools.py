"""Tools that a chat offers to the model, and calls of them, parsed and validated from JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.json_input import parse_json

Tool = dict[str, Any]
"""`{"type": "function", "function": {"name": "...", "parameters": {...}}}`, as in OpenAI's API."""

ToolCall = dict[str, Any]
"""`{"type": "function", "function": {"name": "...", "arguments": {...}}}`, and perhaps an `id`."""

_ARGUMENTS = '{"city": "Paris"}'
EXAMPLE = '[{"type": "function", "function": {"name": "...", "parameters": {...}}}]'


def parse_tools(document: Any) -> tuple[Tool, ...]:
    """Parses the tools of a chat, which the chat template renders as they are.

    Args:
        document: As JSON gives them: a list of objects.

    Raises:
        InvalidArgumentError: They are malformed.
    """
    if not isinstance(document, list) or not document:
        raise InvalidArgumentError(f"tools must be a JSON array with at least one tool: {EXAMPLE}")
    for index, item in enumerate(document):
        _function_of(f"tools[{index}]", item)
    return tuple(document)


def parse_tool_calls(place: str, document: Any) -> list[ToolCall]:
    """Parses the calls in an assistant's message.

    Args:
        place: What the client calls them.
        document: As JSON gives them: a list of objects. Arguments may be an object, or JSON text,
            as in OpenAI's API; a chat template takes them as an object.

    Raises:
        InvalidArgumentError: They are malformed.
    """
    if not isinstance(document, list):
        raise InvalidArgumentError(f"{place} must be a JSON array")
    calls = []
    for index, item in enumerate(document):
        function = _function_of(f"{place}[{index}]", item)
        arguments = function.get("arguments", {})
        name = f"{place}[{index}].function.arguments"
        if isinstance(arguments, str):
            arguments = parse_json(name, arguments, _ARGUMENTS) if arguments.strip() else {}
        if not isinstance(arguments, dict):
            raise InvalidArgumentError(f"{name} must be a JSON object: {_ARGUMENTS}")
        calls.append({**item, "function": {**function, "arguments": arguments}})
    return calls


def _function_of(place: str, item: Any) -> Mapping[str, Any]:
    function = item.get("function") if isinstance(item, Mapping) else None
    if not isinstance(function, Mapping) or item.get("type", "function") != "function":
        raise InvalidArgumentError(
            f'{place} must be {{"type": "function", "function": {{"name": "...", ...}}}}'
        )
    name = function.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidArgumentError(f"{place}.function has no name: give it one")
    return function

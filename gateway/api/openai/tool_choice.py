"""Whether an answer to a chat must not, may or must call functions, and which."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, WithJsonSchema

Mode = Literal["none", "auto", "required"]

NameOf = Callable[[Any], str | None]
"""Returns the name of a function; `None` of what is none."""


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether the model has to call a function.

    Attributes:
        mode: Whether it must not, may, or must.
        names: The functions that it can call; `None` is all.
        once: Whether it calls one function once, the only one of `names`.
    """

    mode: Mode
    names: tuple[str, ...] | None = None
    once: bool = False


def choice_of(choice: Any, name_of: NameOf, allowed: Any, example: str) -> dict[str, Any]:
    """Returns the fields of a `ToolChoice`.

    Args:
        choice: What the client gave.
        name_of: Returns the name of a function that is described as the API does.
        allowed: The mode and tools of a choice of the type `allowed_tools`.
        example: How the API names a function.

    Raises:
        ValueError: It is no choice.
    """
    if isinstance(choice, str) and choice in get_args(Mode):
        return {"mode": choice}
    if (name := name_of(choice)) is not None:
        return {"mode": "required", "names": (name,), "once": True}
    if not isinstance(choice, dict) or choice.get("type") != "allowed_tools":
        raise ValueError(f'use "none", "auto", "required", {example} or allowed_tools')
    described = allowed if isinstance(allowed, dict) else {}
    mode, tools = described.get("mode"), described.get("tools")
    if mode not in ("auto", "required"):
        raise ValueError(f"the mode of allowed_tools is {mode!a}: use auto or required")
    names = tuple(map(name_of, tools)) if isinstance(tools, list) else ()
    if not names or None in names:
        raise ValueError(f"the tools of allowed_tools are no list of functions: give [{example}]")
    return {"mode": mode, "names": names}


def shown_choice(
    named: Mapping[str, Any], around: Callable[[Any], Mapping[str, Any]]
) -> WithJsonSchema:
    """Documents a choice.

    Args:
        named: The JSON schema of what names a function.
        around: Returns the properties that have those of `allowed_tools`.
    """
    tools = {"type": "array", "items": named, "minItems": 1}
    properties = around({"mode": {"enum": ["auto", "required"]}, "tools": tools})
    allowed = {
        "type": "object",
        "properties": {"type": {"const": "allowed_tools"}, **properties},
        "required": ["type", *properties],
    }
    return WithJsonSchema({"anyOf": [{"enum": list(get_args(Mode))}, named, allowed]})


def _name_of(tool: Any) -> str | None:
    function = tool.get("function") if isinstance(tool, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) and tool.get("type") == "function" else None


def _as_choice(choice: Any) -> Any:
    allowed = choice.get("allowed_tools") if isinstance(choice, dict) else None
    example = '{"type": "function", "function": {"name": "..."}}'
    return choice_of(choice, _name_of, allowed, example)


_NAMED = {
    "type": "object",
    "properties": {
        "type": {"const": "function"},
        "function": {
            "type": "object",
            "properties": {"name": {"type": "string"}},
            "required": ["name"],
        },
    },
    "required": ["type", "function"],
}


def _around(properties: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = {"type": "object", "properties": properties, "required": list(properties)}
    return {"allowed_tools": inner}


ToolChoiceField = Annotated[ToolChoice, BeforeValidator(_as_choice), shown_choice(_NAMED, _around)]

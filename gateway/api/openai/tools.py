"""The tools that a chat offers, and which of them the model may or must call."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from gateway.api.field_types import Boolean, Text
from gateway.api.openai.fields import Fields, Refusal
from gateway.api.openai.tool_choice import ToolChoice
from gateway.api.openai.tool_grammar import calling_grammar
from gateway.errors import InvalidRequestError
from triton_models.contract.json_input import MAX_DEPTH, is_shallow

MAX_TOOLS = 128
"""As many as OpenAI takes."""

_NAME = r"^[a-zA-Z0-9_-]{1,64}$"
_GRAMMAR = "format.grammar"
_PLACE = re.compile(r"^:( at \d+\(\d+\):)?( failed to compile JSON schema:)?")
"""What is said of the place in a grammar that the client has not written."""

_JSON_TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})


def _as_schema(parameters: dict[str, Any]) -> dict[str, Any]:
    """Makes sure that parameters can be a JSON schema of an object.

    Raises:
        ValueError: They cannot.
    """
    if not is_shallow(parameters):
        raise ValueError(f"it is nested too deeply: {MAX_DEPTH} levels are allowed")
    kind = parameters.get("type", "object")
    if kind != "object":
        raise ValueError(f"its type is {kind!a}: the schema of arguments has the type 'object'")
    _check_schema("", parameters)
    return parameters


def _check_schema(place: str, schema: Any) -> None:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise ValueError(f"{place or 'it'} is no JSON schema: give an object")
    kinds = schema.get("type", [])
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if not isinstance(kind, str) or kind not in _JSON_TYPES:
            kinds_of_json = ", ".join(sorted(_JSON_TYPES))
            raise ValueError(f"{place or 'it'} has the type {kind!a}: use one of {kinds_of_json}")
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise ValueError(f"{place or 'it'} has a 'required' that is no list of names")
    properties = schema.get("properties", {})
    if not isinstance(properties, dict):
        raise ValueError(f"{place or 'it'} has 'properties' that are no object")
    for name, each in properties.items():
        _check_schema(f"{place}.{name}" if place else ascii(name), each)
    items = schema.get("items", [])
    for each in items if isinstance(items, list) else [items]:
        _check_schema(f"{place}[]", each)


class Function(Fields):
    """A function that the model can call."""

    name: Annotated[Text, Field(pattern=_NAME)]
    description: Text | None = Field(default=None, description="What it does, for the model.")
    parameters: Annotated[dict[str, Any], AfterValidator(_as_schema)] | None = Field(
        default=None, description="The JSON schema of its arguments. Default: it has none."
    )
    strict: Boolean = Field(
        default=False, description="Whether calls always have arguments that fit the schema."
    )


class Tool(Fields):
    """A tool that the model can use."""

    refused: ClassVar[Mapping[str, Refusal]] = {
        "custom": Refusal("tools are functions, whose arguments are JSON")
    }

    type: Literal["function"]
    function: Function


@dataclass(frozen=True, slots=True)
class Calling:
    """What an answer may call.

    Attributes:
        tools: What the model is shown, as its chat template takes it.
        names: The functions whose calls are taken for calls.
        grammar: What the answer has to match, in Lark's syntax; `None` if it may be any text.
    """

    tools: Sequence[Mapping[str, Any]]
    names: frozenset[str]
    grammar: str | None


def named_tools(error: InvalidRequestError) -> InvalidRequestError:
    """Returns an error about the grammar of calls as one about the tools that it was made of."""
    if not error.message.startswith(_GRAMMAR):
        return error
    reason = error.message.removeprefix(_GRAMMAR)
    reason = _PLACE.sub("", reason) if reason.startswith(":") else f" it{reason}"
    return type(error)(f"tools: calls that fit the parameters cannot be enforced:{reason}")


def check_tools(tools: Sequence[Tool], choice: ToolChoice | None) -> None:
    """Makes sure that every function has a name of its own, and that the choice can be met.

    Raises:
        ValueError: It is not so.
    """
    places: dict[str, int] = {}
    for index, tool in enumerate(tools):
        first = places.setdefault(tool.function.name, index)
        if first != index:
            raise ValueError(
                f"tools[{index}].function.name is that of tools[{first}] as well: give each "
                "function a name of its own"
            )
    if choice and choice.mode == "required" and not tools:
        raise ValueError("tool_choice asks for a call, but there are no tools: give some")
    for name in (choice.names or ()) if choice else ():
        if name not in places:
            raise ValueError(
                f"tool_choice names the function {name!a}, which is none of the tools: use one of "
                f"{', '.join(places)}"
            )


def calling(
    tools: Sequence[Tool],
    choice: ToolChoice | None,
    several: bool,
    answer: Mapping[str, Any] | None = None,
) -> Calling | None:
    """Returns what an answer may call, `None` if nothing.

    Args:
        tools: The chat's tools; `check_tools` has checked them.
        choice: Whether one has to be called; `None` leaves it to the model.
        several: Whether there may be more than one call.
        answer: The JSON schema of an answer without calls, if it is to match one.
    """
    choice = choice or ToolChoice("auto")
    if choice.mode == "none" or not tools:
        return None
    every = [tool.function for tool in tools]
    functions = [each for each in every if choice.names is None or each.name in choice.names]
    grammar = None
    optional = choice.mode == "auto"
    is_free = optional and several and answer is None and len(functions) == len(every)
    if not is_free or any(function.strict for function in functions):
        grammar = calling_grammar(
            [(each.name, each.parameters, each.strict) for each in functions],
            several=several and not choice.once,
            optional=optional,
            answer=answer if optional else None,
        )
    shown = [tool.model_dump(exclude_none=True, exclude={"function": {"strict"}}) for tool in tools]
    return Calling(shown, frozenset(function.name for function in functions), grammar)

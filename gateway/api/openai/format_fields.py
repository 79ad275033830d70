"""What OpenAI's API, and vLLM's beside it, say about the form of an answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from gateway.api.field_names import FieldNames
from gateway.api.field_types import Text
from gateway.api.openai.fields import Fields

Format = dict[str, Any]
"""The `format` of a request to the model server."""

_OF_A_SCHEMA = ("schema", "name", "description", "strict")
"""What OpenAI's API says of a schema. All are followed strictly, and the names make no difference.
"""
_TEXT: Format = {"type": "text"}
_SCHEMA = {"anyOf": [{"type": "object"}, {"type": "string"}]}
_CHOICES = {"type": "array", "items": {"type": "string"}}


def of_response_format(value: Any) -> Format:
    """Reads OpenAI's `response_format`.

    Raises:
        ValueError: It is not one that can be followed.
    """
    kind = value.get("type") if isinstance(value, dict) else None
    if kind not in ("text", "json_object", "json_schema"):
        raise ValueError(f"its type is {kind!a}: use text, json_object or json_schema")
    if kind != "json_schema":
        _refuse_others(value, {"type"})
        return {"type": kind}
    _refuse_others(value, {"type", "json_schema"})
    described = value.get("json_schema")
    if not isinstance(described, dict) or not isinstance(described.get("schema"), dict):
        raise ValueError('give the schema as {"json_schema": {"schema": {"type": "object"}}}')
    _refuse_others(described, _OF_A_SCHEMA)
    return _of_json(described["schema"])


def _refuse_others(value: Mapping[str, Any], known: Collection[str]) -> None:
    for name, each in value.items():
        if name not in known and each is not None:
            raise ValueError(f"{name[:60]!a} is not supported here")


def _of_json(value: Any) -> Format:
    """Reads a schema, or the JSON of one.

    Raises:
        ValueError: It is none.
    """
    try:
        schema = json.loads(value) if isinstance(value, str) else value
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(schema, dict):
        raise ValueError("give a JSON schema, an object")
    return {"type": "json_schema", "schema": schema}


def _of_regex(value: Any) -> Format:
    return {"type": "regex", "pattern": value}


def _of_choice(value: Any) -> Format:
    return {"type": "choice", "choices": value}


def _of_grammar(value: Any) -> Format:
    return {"type": "grammar", "grammar": value}


_STRUCTURED: dict[str, Callable[[Any], Format]] = {
    "json": _of_json,
    "regex": _of_regex,
    "choice": _of_choice,
    "grammar": _of_grammar,
    "json_object": lambda _: {"type": "json_object"},
}
_PARTS: Mapping[str, FieldNames] = {
    "response_format": {"schema": "response_format.json_schema.schema"},
    "guided_json": {"schema": "guided_json"},
    "guided_regex": {"pattern": "guided_regex"},
    "guided_choice": {"choices": "guided_choice"},
    "guided_grammar": {"grammar": "guided_grammar"},
    "structured_outputs": {
        "schema": "structured_outputs.json",
        "pattern": "structured_outputs.regex",
        "choices": "structured_outputs.choice",
        "grammar": "structured_outputs.grammar",
    },
}
"""What each field calls the parts of the `Format` that it is read as."""

_WITHOUT_DIFFERENCE = frozenset({"disable_any_whitespace", "disable_fallback"})


def _of_structured_outputs(value: Any) -> Format:
    """Reads vLLM's `structured_outputs`.

    Raises:
        ValueError: It has not one thing to follow, or something else that would make a difference.
    """
    given = {name: each for name, each in value.items() if each not in (None, False)}
    given = {name: each for name, each in given.items() if name not in _WITHOUT_DIFFERENCE}
    known = ", ".join(_STRUCTURED)
    for name in given:
        if name not in _STRUCTURED:
            raise ValueError(f"{name[:60]!a} is not supported: use one of {known}")
    if len(given) != 1:
        raise ValueError(f"it says {len(given)} things to follow: give one of {known}")
    ((name, each),) = given.items()
    return _STRUCTURED[name](each)


class FormatFields(Fields):
    """The fields that say which form an answer has; once validated, each is a `Format`."""

    response_format: Annotated[
        Annotated[Any, AfterValidator(of_response_format)] | None,
        WithJsonSchema(
            {
                "type": "object",
                "properties": {
                    "type": {"enum": ["text", "json_object", "json_schema"]},
                    "json_schema": {
                        "type": "object",
                        "properties": {"schema": {"type": "object"}},
                        "required": ["schema"],
                    },
                },
                "required": ["type"],
            }
        ),
    ] = Field(default=None, description="Free text, any JSON object, or what matches a schema.")
    guided_json: Annotated[
        Annotated[Any, AfterValidator(_of_json)] | None, WithJsonSchema(_SCHEMA)
    ] = Field(default=None, description="vLLM's: a JSON schema.")
    guided_regex: Annotated[Text, AfterValidator(_of_regex)] | None = Field(
        default=None, description="vLLM's: a regular expression."
    )
    guided_choice: Annotated[list[Text], AfterValidator(_of_choice)] | None = Field(
        default=None, description="vLLM's: the answers to choose from."
    )
    guided_grammar: Annotated[Text, AfterValidator(_of_grammar)] | None = Field(
        default=None, description="vLLM's: a grammar in Lark's syntax."
    )
    structured_outputs: Annotated[
        Annotated[dict[str, Any], AfterValidator(_of_structured_outputs)] | None,
        WithJsonSchema(
            {
                "type": "object",
                "properties": {
                    "json": _SCHEMA,
                    "regex": {"type": "string"},
                    "choice": _CHOICES,
                    "grammar": {"type": "string"},
                    "json_object": {"type": "boolean"},
                },
            }
        ),
    ] = Field(default=None, description="vLLM's newer name of these; one of its fields.")

    @property
    def format(self) -> Format | None:
        """What the answer must match; `None` for free text."""
        return next(iter(self._formats().values()), None)

    @property
    def format_names(self) -> FieldNames:
        """What the client calls the parts of `format`."""
        field = next(iter(self._formats()), "format")
        parts = {f"format.{part}": name for part, name in _PARTS.get(field, {}).items()}
        return {"format": field, **parts}

    def _formats(self) -> dict[str, Format]:
        given = {name: getattr(self, name) for name in FormatFields.model_fields}
        return {name: each for name, each in given.items() if each not in (None, _TEXT)}

    @model_validator(mode="after")
    def _have_one_format(self) -> FormatFields:
        names = list(self._formats())
        if len(names) > 1:
            raise ValueError(f"{' and '.join(names)} all say which form answers have: give one")
        return self

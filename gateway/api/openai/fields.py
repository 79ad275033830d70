"""The fields of a JSON object of OpenAI's: taken, ignored, refused, or unknown.

A field that is ignored although it would make a difference is worse than an error: the answer looks
as asked for. So only those are ignored that make none, and a misspelled one is never.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from typing import Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    GetJsonSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_core.core_schema import CoreSchema

_MAX_NAME_CHARS = 60
_MAX_PROBLEMS = 3

_NULL = {"type": "null"}
_SHOWN = ("title", "description", "default")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a field of OpenAI's is not taken.

    Attributes:
        reason: What the server cannot do.
        harmless: Values that do not ask for it.
    """

    reason: str
    harmless: Sequence[Any] = ()


class Fields(BaseModel):
    """A JSON object of which this server takes a part; `null` is as good as nothing.

    Attributes:
        ignored: Fields of OpenAI's that make no difference here.
        refused: Fields of OpenAI's that would.
    """

    model_config = ConfigDict(extra="forbid")

    ignored: ClassVar[frozenset[str]] = frozenset()
    refused: ClassVar[Mapping[str, Refusal]] = {}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Documents that `null` is as good as nothing."""
        reference = handler(core_schema)
        schema = handler.resolve_ref_schema(reference)
        for name, field in schema["properties"].items():
            if name not in schema.get("required", ()) and _NULL not in field.get("anyOf", ()):
                shown = {key: field.pop(key) for key in _SHOWN if key in field}
                schema["properties"][name] = {"anyOf": [field, _NULL], **shown}
        return reference

    @model_validator(mode="before")
    @classmethod
    def _take(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        # JSON can name a field by half of a surrogate pair, which no message can repeat.
        named = {
            name.encode("ascii", "backslashreplace").decode(): value for name, value in data.items()
        }
        found = (
            InitErrorDetails(
                type=PydanticCustomError("field", "{problem}", {"problem": problem}),
                loc=(name[:_MAX_NAME_CHARS],),
                input=None,
            )
            for name, value in named.items()
            if (problem := cls._problem(name, value))
        )
        # To look for the name that was meant takes long: a few say what there is to learn.
        problems = list(islice(found, _MAX_PROBLEMS))
        if problems:
            raise ValidationError.from_exception_data(cls.__name__, problems)
        return {
            name: value
            for name, value in named.items()
            if name in cls.model_fields and value is not None
        }

    @classmethod
    def _problem(cls, name: str, value: Any) -> str:
        if value is None or name in cls.model_fields or name in cls.ignored:
            return ""
        refusal = cls.refused.get(name)
        if refusal is not None:
            is_harmless = value in refusal.harmless
            return "" if is_harmless else f"not supported: {refusal.reason}"
        known = [*cls.model_fields, *cls.ignored]
        near = get_close_matches(name[:_MAX_NAME_CHARS], known, n=1)
        if near:
            return f"there is no such field: did you mean {near[0]}?"
        return f"there is no such field; the fields are {', '.join(cls.model_fields)}"

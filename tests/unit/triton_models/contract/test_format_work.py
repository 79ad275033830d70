"""Formats that would take more than their length to compile."""

from __future__ import annotations

import json
from typing import Any

import pytest

from triton_models.contract.answer_format import (
    MAX_INTERSECTED,
    MAX_PATTERN_PROPERTIES,
    parse_answer_format,
)
from triton_models.contract.errors import InvalidArgumentError


def properties(count: int) -> dict[str, Any]:
    half: dict[str, Any] = {f"^{number}_": {} for number in range(count // 2)}
    rest: dict[str, Any] = {f"^{number}_": {} for number in range(count - count // 2)}
    return {"patternProperties": half, "items": {"patternProperties": rest}}


def intersected(count: int) -> dict[str, Any]:
    return {"items": {"allOf": [{"pattern": f"{number}"} for number in range(count)]}}


def of_schema(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "schema": schema}


def grammar(count: int) -> dict[str, Any]:
    # Those inside of a text count for nothing.
    source = 'start: A "&&&&&&&&&&&&&&&&&&&&"\nA: ' + " & ".join(["/a/"] * (count + 1))
    return {"type": "grammar", "grammar": source}


def embedded(count: int) -> dict[str, Any]:
    return {"type": "grammar", "grammar": f"start: %json {json.dumps(properties(count))}"}


@pytest.mark.parametrize(
    ("format", "most", "says"),
    [
        (lambda count: of_schema(properties(count)), MAX_PATTERN_PROPERTIES, "patternProperties"),
        (embedded, MAX_PATTERN_PROPERTIES, "format.grammar: 'patternProperties'"),
        (lambda count: of_schema(intersected(count)), MAX_INTERSECTED, "17 times 'pattern'"),
        (grammar, MAX_INTERSECTED, "has 17 '&'"),
    ],
)
def test_what_multiplies_is_bounded_by_name(format: Any, most: int, says: str) -> None:
    assert parse_answer_format(json.dumps(format(most))) is not None
    with pytest.raises(InvalidArgumentError, match=says):
        parse_answer_format(json.dumps(format(most + 1)))

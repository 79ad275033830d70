"""Formats of answers: what each type means, and what each refusal says."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from triton_models.contract.answer_format import (
    FORMAT_TYPES,
    MAX_CHOICES,
    MAX_FORMAT_BYTES,
    MAX_PATTERN_BYTES,
    AnswerFormat,
    parse_answer_format,
)
from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.request import GenerationDefaults, parse_generation_request


def parse(**format: Any) -> AnswerFormat | None:
    return parse_answer_format(json.dumps(format))


def schema(**keywords: Any) -> dict[str, Any]:
    return {"type": "json_schema", "schema": keywords}


def test_a_request_without_a_format_or_with_that_of_text_is_answered_freely() -> None:
    for values in ({}, {"format": [""]}, {"format": ['{"type": "text"}']}):
        assert parse_generation_request(values, GenerationDefaults()).format is None


def test_a_request_carries_its_format() -> None:
    values = {"format": ['{"type": "regex", "pattern": "[ab]+"}']}
    format = parse_generation_request(values, GenerationDefaults()).format
    assert format == AnswerFormat("regex", "[ab]+", "format.pattern")


def test_each_type_is_compiled_from_a_schema_a_pattern_or_a_grammar() -> None:
    assert parse(type="json_object") == AnswerFormat("json_schema", '{"type": "object"}', "format")
    assert parse(**schema(const="ä")) == AnswerFormat(
        "json_schema", '{"const": "ä"}', "format.schema"
    )
    assert parse(type="grammar", grammar='start: "a"') == AnswerFormat(
        "grammar", 'start: "a"', "format.grammar"
    )


def test_a_choice_means_its_texts_to_the_letter() -> None:
    texts = ["yes", "a.b", "(x|y)*", "[1-2] & ~{3}", "^$ \\d # é\n\t<b>", '"', "/"]
    format = parse(type="choice", choices=texts)
    assert format is not None
    for text in texts:
        assert re.fullmatch(format.source, text)
    assert not re.fullmatch(format.source, "axb")


@pytest.mark.parametrize(
    ("format", "message"),
    [
        ("{", "format is not valid JSON"),
        ("[" * 50_000, "nested too deeply"),
        ("[]", "format must be an object"),
        ({}, f"format.type is None: use one of {', '.join(FORMAT_TYPES)}"),
        ({"type": "xml"}, "format.type is 'xml'"),
        ({"type": ["text"]}, "format.type is"),
        ({"type": "text", "schema": {}}, "it takes nothing besides type"),
        ({"type": "json_schema"}, "format of type json_schema has no schema"),
        ({"type": "json_schema", "schema": {}, "name": "x"}, "format has 'name'"),
        ({"type": "json_schema", "schema": []}, "format.schema must be an object"),
        (schema(**{"x-guidance": {"lenient": True}}), "'x-guidance' is not supported"),
        ('{"type": "json_schema", "schema": {"minimum": NaN}}', "NaN is no number"),
        ('{"type": "json_schema", "schema": {"minimum": 1e999}}', "1e999 is too large"),
        ('{"type": "regex", "pattern": "\\ud800"}', "not valid JSON"),
        ({"type": "regex", "pattern": ""}, "format.pattern must be a text that is not empty"),
        ({"type": "regex", "pattern": 3}, "format.pattern must be a text"),
        ({"type": "grammar", "grammar": " "}, "format.grammar must be a text"),
        ({"type": "choice", "choices": []}, "format.choices must be texts"),
        ({"type": "choice", "choices": "yes"}, "format.choices must be texts"),
        ({"type": "choice", "choices": ["a", ""]}, "not empty"),
        ({"type": "choice", "choices": ["a", 1]}, "format.choices must be texts"),
        (
            {"type": "choice", "choices": list(map(str, range(MAX_CHOICES + 1)))},
            f"the maximum is {MAX_CHOICES}",
        ),
        (
            {"type": "regex", "pattern": "a" * (MAX_PATTERN_BYTES + 1)},
            f"the maximum is {MAX_PATTERN_BYTES}",
        ),
        (schema(const="a" * MAX_FORMAT_BYTES), f"the maximum is {MAX_FORMAT_BYTES}"),
    ],
)
def test_a_refused_format_says_what_would_be_right(format: Any, message: str) -> None:
    text = format if isinstance(format, str) else json.dumps(format)
    with pytest.raises(InvalidArgumentError, match=re.escape(message)) as refused:
        parse_answer_format(text)
    assert len(refused.value.message) < 500


@pytest.mark.parametrize("multiple", [1, 5, 0.01, 0.25, 1e-8, 1000, 9973])
def test_multiples_that_people_use_are_taken(multiple: float) -> None:
    assert parse(**schema(type="number", multipleOf=multiple)) is not None


@pytest.mark.parametrize(
    "format",
    [
        schema(multipleOf=1_000_003),
        schema(multipleOf=0),
        schema(multipleOf=-2),
        schema(multipleOf=1e-9),
        schema(multipleOf=0.123457),
        schema(multipleOf=1e300),
        schema(allOf=[{"multipleOf": prime} for prime in (97, 101, 103)]),
        {"type": "grammar", "grammar": 'start: "a" x\nx: %json {"multipleOf": 1000003}'},
    ],
)
def test_multiples_that_would_take_a_state_for_each_remainder_are_refused(format: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="'multipleOf' is"):
        parse(**format)

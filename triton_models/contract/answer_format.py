"""The form that an answer must have: JSON, a regular expression, a choice, or a grammar.

This is what can be said about `format` without the model's vocabulary. Whether a schema, a regular
expression or a grammar can be followed is said by `grammars`, which compiles it.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from triton_models.contract.errors import InvalidArgumentError

FormatKind = Literal["json_schema", "regex", "grammar"]

MAX_FORMAT_BYTES = 128 * 1024
MAX_PATTERN_BYTES = 64 * 1024
"""The maximum length of a regular expression or a grammar, which say more in fewer bytes."""

MAX_CHOICES = 1000
MAX_MULTIPLE = 10_000
"""The largest least common multiple of a schema's `multipleOf`, without its decimal point: a
compiled schema has a state for each remainder."""

MAX_PATTERN_PROPERTIES = 100
"""How many a schema may have: each is compared with every other one."""

MAX_INTERSECTED = 16
"""How many expressions one text may have to match at once: the work can double with each."""

_MAX_DECIMALS = 8

JSON_OPTIONS: Mapping[str, Any] = {
    "whitespace_flexible": False,
    "item_separator": ", ?",
    "key_separator": ": ?",
}
"""How JSON is written: on one line, with or without a space after a comma and a colon.

Models write both. With any whitespace that JSON allows, a model could go on with it until its
answer is cut; a steered one does."""

OWN_OPTIONS = "x-guidance"
"""The keyword with which llguidance, which compiles schemas, takes such options from them."""


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """What an answer must match, from its first token to its last.

    Attributes:
        kind: How to read `source`.
        source: A JSON schema as JSON, a regular expression, or a grammar in Lark's syntax.
        field: What the request calls the source, for messages about it.
    """

    kind: FormatKind
    source: str
    field: str


def parse_answer_format(text: str) -> AnswerFormat | None:
    """Parses the `format` of a request.

    Args:
        text: A JSON object with a `type`, and what belongs to the type.

    Returns:
        The format; `None` if the answer is to be free text.

    Raises:
        InvalidArgumentError: It is not such an object, or is too large.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_FORMAT_BYTES:
        raise InvalidArgumentError(f"format has {size} bytes: the maximum is {MAX_FORMAT_BYTES}")
    try:
        format = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
        json.dumps(format, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise InvalidArgumentError(f"format is not valid JSON: {reason}") from error
    if not isinstance(format, dict):
        raise InvalidArgumentError('format must be an object: {"type": "json_object"}')
    kind = format.get("type")
    if not isinstance(kind, str) or kind not in _PARSERS:
        raise InvalidArgumentError(
            f"format.type is {reprlib.repr(kind)}: use one of {', '.join(_PARSERS)}"
        )
    needed, parse = _PARSERS[kind]
    for name in format:
        if name not in ("type", needed):
            takes = f"besides type it takes {needed}" if needed else "it takes nothing besides type"
            raise InvalidArgumentError(
                f"format has {reprlib.repr(name)}, which {kind} does not have: {takes}"
            )
    if needed and needed not in format:
        raise InvalidArgumentError(f"format of type {kind} has no {needed}: give it")
    return parse(format.get(needed))


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is too large")
    return number


def _text(_: Any) -> None:
    """Returns `None`: free text has no format."""


def _json_object(_: Any) -> AnswerFormat:
    return AnswerFormat("json_schema", '{"type": "object"}', "format")


def _json_schema(schema: Any) -> AnswerFormat:
    if not isinstance(schema, dict):
        raise InvalidArgumentError('format.schema must be an object: {"type": "object"}')
    if OWN_OPTIONS in schema:
        raise InvalidArgumentError(f"format.schema: {OWN_OPTIONS!r} is not supported: leave it out")
    _check_schema(schema, "format.schema")
    return AnswerFormat("json_schema", json.dumps(schema, ensure_ascii=False), "format.schema")


def _regex(pattern: Any) -> AnswerFormat:
    return AnswerFormat("regex", _pattern(pattern, "format.pattern"), "format.pattern")


def _choice(choices: Any) -> AnswerFormat:
    field = "format.choices"
    texts = choices if isinstance(choices, list) else []
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise InvalidArgumentError(f'{field} must be texts that are not empty: ["yes", "no"]')
    if len(texts) > MAX_CHOICES:
        raise InvalidArgumentError(f"{field} has {len(texts)} texts: the maximum is {MAX_CHOICES}")
    return AnswerFormat("regex", "|".join(map(_literal, texts)), field)


def _grammar(grammar: Any) -> AnswerFormat:
    field = "format.grammar"
    source = _pattern(grammar, field)
    if (count := _STRING.sub("", source).count("&")) > MAX_INTERSECTED:
        raise InvalidArgumentError(f"{field} has {count} '&': the maximum is {MAX_INTERSECTED}")
    for schema in _schemas_of(source):
        _check_schema(schema, field)
    return AnswerFormat("grammar", source, field)


def _pattern(value: Any, field: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InvalidArgumentError(f"{field} must be a text that is not empty")
    size = len(value.encode())
    if size > MAX_PATTERN_BYTES:
        raise InvalidArgumentError(f"{field} has {size} bytes: the maximum is {MAX_PATTERN_BYTES}")
    return value


_PARSERS: dict[str, tuple[str, Callable[[Any], AnswerFormat | None]]] = {
    "text": ("", _text),
    "json_object": ("", _json_object),
    "json_schema": ("schema", _json_schema),
    "regex": ("pattern", _regex),
    "choice": ("choices", _choice),
    "grammar": ("grammar", _grammar),
}
"""For each type of format what it needs, and what makes a format of that."""

FORMAT_TYPES = tuple(_PARSERS)

_STRING = re.compile(r'"(?:\\.|[^"\\\n])*"')
"""A text in a grammar."""

_META_CHARACTERS = re.compile(r"[\\.+*?()|\[\]{}^$#&\-~]")


def _literal(text: str) -> str:
    """Returns a regular expression that matches a text alone."""
    return _META_CHARACTERS.sub(r"\\\g<0>", text)


def _schemas_of(grammar: str) -> Iterator[Any]:
    """Yields the schemas inside a Lark grammar; what is no JSON is left to the compiler."""
    decoder = json.JSONDecoder()
    for found in re.finditer(r"%json\s*", grammar):
        try:
            yield decoder.raw_decode(grammar, found.end())[0]
        except (ValueError, RecursionError):
            continue


def _check_schema(schema: Any, field: str) -> None:
    """Makes sure that a schema can be compiled in a reasonable time.

    Raises:
        InvalidArgumentError: It cannot; the message names the keyword.
    """
    _check_multiples(schema, field)
    num_properties = 0
    for part in _objects_in(schema):
        properties, combined = part.get("patternProperties"), part.get("allOf")
        num_properties += len(properties) if isinstance(properties, dict) else 0
        if num_properties > MAX_PATTERN_PROPERTIES:
            raise InvalidArgumentError(
                f"{field}: 'patternProperties' has, all together, more than "
                f"{MAX_PATTERN_PROPERTIES} properties: give fewer"
            )
        members = combined if isinstance(combined, list) else []
        patterns = sum(isinstance(each, dict) and "pattern" in each for each in members)
        if patterns > MAX_INTERSECTED:
            raise InvalidArgumentError(
                f"{field}: 'allOf' has {patterns} times 'pattern': the maximum is {MAX_INTERSECTED}"
            )


def _check_multiples(schema: Any, field: str) -> None:
    """Makes sure that a schema's `multipleOf` do not make it too large.

    Subschemas that apply to the same number are compiled to the least common multiple.

    Raises:
        InvalidArgumentError: They do.
    """
    common = 1
    for number in _multiples_in(schema):
        steps = Decimal(str(number)).scaleb(_MAX_DECIMALS)
        if steps != steps.to_integral_value() or not 0 < steps < 10 ** (2 * _MAX_DECIMALS):
            common = 0
        common = math.lcm(common, int(steps))
        if not common or _without_decimals(common) > MAX_MULTIPLE:
            raise InvalidArgumentError(
                f"{field}: 'multipleOf' is {number}, or has that and others as factors: their "
                f"least common multiple must have at most {_MAX_DECIMALS} decimals and be at most "
                f"{MAX_MULTIPLE}, the decimal point left out"
            )


def _without_decimals(steps: int) -> int:
    """Returns a number of steps of the last decimal, with as few decimals as it needs."""
    for _ in range(_MAX_DECIMALS):
        if steps % 10:
            break
        steps //= 10
    return steps


def _multiples_in(schema: Any) -> Iterator[float]:
    """Yields every number that is called `multipleOf`, at any depth."""
    for part in _objects_in(schema):
        number = part.get("multipleOf")
        if isinstance(number, int | float) and not isinstance(number, bool):
            yield number


def _objects_in(schema: Any) -> Iterator[Mapping[str, Any]]:
    """Yields every object, at any depth."""
    pending = [schema]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            yield value
        if isinstance(value, dict | list):
            pending += value.values() if isinstance(value, dict) else value

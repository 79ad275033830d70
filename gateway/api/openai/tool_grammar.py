"""A grammar of answers that call functions with arguments which fit their schemas.

It is written in Lark's syntax as llguidance reads it
(https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.api.openai.tool_call_stream import CLOSE, OPEN
from triton_models.contract.answer_format import JSON_OPTIONS, OWN_OPTIONS

_NO_ARGUMENTS: Mapping[str, Any] = {
    "type": "object",
    "properties": {},
    "additionalProperties": False,
}

_COMBINING = frozenset({"additionalProperties", "allOf", "anyOf", "oneOf", "$ref"})
"""Keywords beside which to forbid what `properties` do not list could leave nothing."""


def calling_grammar(
    functions: Sequence[tuple[str, Mapping[str, Any] | None, bool]],
    *,
    several: bool,
    optional: bool,
    answer: Mapping[str, Any] | None = None,
) -> str:
    """Returns the grammar.

    Args:
        functions: The name of each function, letters, digits, `_` and `-`; the JSON schema of its
            arguments, if it has any; and whether that must be enforced to the letter.
        several: Whether there may be more than one call.
        optional: Whether there may be none, but text; and text before and after calls.
        answer: The JSON schema of what there may be instead of calls, and of nothing else.
    """
    open_, close, line_end = json.dumps(OPEN), json.dumps(f"\n{CLOSE}"), json.dumps("\n")
    calls = f"call ({line_end} call)*" if several else "call"
    if optional and answer is None:
        # A lazy lexeme ends as soon as it can, so that text has no marker which begins no call.
        start = "call* text" if several else "text | call"
        rules = [
            f"start: {start}",
            "text: TEXT",
            r"TEXT: /(.|\n)*/",
            f"open[lazy]: TEXT {open_}",
        ]
    else:
        rules = [f"start: {calls}", f"open: {open_}"]
        if answer is not None:
            rules[0] = f"start: answer | {calls}"
            rules.append(f"answer: {_json(answer, JSON_OPTIONS)}")
    bodies = [f"function{number}" for number in range(len(functions))]
    rules.append(f"call: open {line_end} ({' | '.join(bodies)}) {close}")
    for body, (name, schema, strict) in zip(bodies, functions, strict=True):
        beginning = json.dumps(f'{{"name": "{name}", "arguments": ')
        rules.append(f'{body}: {beginning} {_arguments(schema, strict)} "}}"')
    return "\n".join(rules)


def _arguments(schema: Mapping[str, Any] | None, strict: bool) -> str:
    if schema is None:
        schema = _NO_ARGUMENTS
    elif not strict and "properties" in schema and not _COMBINING & schema.keys():
        schema = {**schema, "additionalProperties": False}
    options = {
        # As chat templates write calls, so that the next request finds the same tokens.
        "whitespace_flexible": False,
        "item_separator": ", ",
        "key_separator": ": ",
        # What cannot be enforced is refused where the client insists, else left out.
        "lenient": not strict,
    }
    return _json({"type": "object", **schema}, options)


def _json(schema: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """Returns what matches a schema, in Lark's syntax."""
    return f"%json {json.dumps({**schema, OWN_OPTIONS: options}, ensure_ascii=False)}"

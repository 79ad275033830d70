"""Formats of answers, compiled and followed for a few tokens."""

from __future__ import annotations

import contextlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
from llguidance import LLTokenizer

from tests.tiny_model import make_tokenizer
from tests.unit.triton_models.grammars.vocabularies import vocabulary_of
from triton_models.contract.answer_format import AnswerFormat, parse_answer_format
from triton_models.contract.errors import InvalidArgumentError
from triton_models.grammars.matcher import MaskExecutor, compile_format

_SOURCES = {b"json_schema": "schema", b"regex": "pattern", b"grammar": "grammar"}
"""What a format of a type is made of; an input may begin with the type, and be that from there on:
what is damaged is then a schema or an expression, and not the JSON around it."""

SEEDS = (
    b'json_schema {"type": "object", "properties": {"a": {"type": "string", "pattern": "^[a-f]+$",'
    b' "maxLength": 9}, "b": {"$ref": "#/$defs/n"}}, "required": ["a"],'
    b' "additionalProperties": false, "$defs": {"n": {"type": "integer", "minimum": 3}}}',
    b'json_schema {"anyOf": [{"enum": ["x", 1, null]}, {"items": {"multipleOf": 0.5}, "minItems":'
    b' 1, "maxItems": 3}], "allOf": [{"patternProperties": {"^x": {"format": "date-time"}}}]}',
    b"regex (a|b.)*[^c-e]{2,5}\\d+(?i:x)?",
    b'grammar start: a b* | "c" TEXT\na: "x"{1,3}\nb[lazy]: TEXT "y"\nTEXT: /[a-z]+/ & ~/no/',
    b'grammar start: a+ | j\na: /x.*y/ start?\nj: %json {"type": "boolean"}\n%ignore /[ \\n]+/',
    b'{"type": "choice", "choices": ["yes", "no.*", "\\u00e9"]}',
    b'{"type": "json_object"}',
)

_STACK_BYTES = 512 * 1024 * 1024
"""As that of the compiler's threads: rules that refer to each other are followed by recursion."""

_NUM_STEPS = 4


def follow(content: bytes) -> None:
    """Parses, compiles and follows a format, or refuses it."""
    with contextlib.suppress(InvalidArgumentError):
        format = parse_answer_format(_request(content))
        if format is not None:
            _deep_thread().submit(_follow, format).result()


def _request(content: bytes) -> str:
    """Returns what a request says, of an input in either form."""
    kind, _, source = content.partition(b" ")
    text = source.decode(errors="replace")
    if kind not in _SOURCES:
        return content.decode(errors="replace")
    value: Any = text
    if kind == b"json_schema":
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(text)
    return json.dumps({"type": kind.decode(), _SOURCES[kind]: value})


def _follow(format: AnswerFormat) -> None:
    matcher = compile_format(format, _vocabulary())
    executor = MaskExecutor(_vocabulary(), 1)
    for step in range(_NUM_STEPS):
        mask = np.unpackbits(executor.compute([matcher])[0], bitorder="little")
        # The end at least, whatever became of the grammar.
        allowed = np.flatnonzero(mask)
        if matcher.advance(int(allowed[step % len(allowed)])) or matcher.failure:
            return


@lru_cache(1)
def _vocabulary() -> LLTokenizer:
    return vocabulary_of(make_tokenizer())


@lru_cache(1)
def _deep_thread() -> ThreadPoolExecutor:
    """Returns what runs functions on one thread, whose stack is large."""
    pool = ThreadPoolExecutor(1)
    usual = threading.stack_size(_STACK_BYTES)
    try:
        pool.submit(_vocabulary).result()
    finally:
        threading.stack_size(usual)
    return pool

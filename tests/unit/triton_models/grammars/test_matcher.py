"""What a format allows at each token, and which formats are refused."""

from __future__ import annotations

import json
import threading
from typing import Any

import numpy as np
import pytest

from tests.tiny_model import make_tokenizer, served
from tests.unit.triton_models.grammars.vocabularies import tool_tokenizer, vocabulary_of
from triton_models.contract.answer_format import (
    JSON_OPTIONS,
    OWN_OPTIONS,
    AnswerFormat,
    parse_answer_format,
)
from triton_models.contract.errors import InvalidArgumentError
from triton_models.grammars.matcher import MaskExecutor, Matcher, compile_format
from triton_models.grammars.vocabulary import make_vocabulary

TOKENIZER = make_tokenizer()
VOCABULARY = vocabulary_of(TOKENIZER, padding=13)
EXECUTOR = MaskExecutor(VOCABULARY, 1)
END = TOKENIZER.eos_token_id


def parsed(**format: Any) -> AnswerFormat:
    result = parse_answer_format(json.dumps(format))
    assert result is not None
    return result


def matcher_of(**format: Any) -> Matcher:
    return compile_format(parsed(**format), VOCABULARY)


def lark_json(schema: dict[str, Any]) -> str:
    """Returns a schema as a symbol of a Lark grammar."""
    return f"%json {json.dumps({**schema, OWN_OPTIONS: JSON_OPTIONS})}"


def allowed(matcher: Matcher, executor: MaskExecutor = EXECUTOR) -> set[int]:
    bits = np.unpackbits(executor.compute([matcher])[0], bitorder="little")
    return set(np.flatnonzero(bits).tolist())


def ids_of(text: str) -> list[int]:
    return list(TOKENIZER(text)["input_ids"])


def follows(matcher: Matcher, text: str) -> bool:
    """Whether the answer may be this text."""
    for token in ids_of(text):
        if token not in allowed(matcher):
            return False
        matcher.advance(token)
    return END in allowed(matcher)


@pytest.mark.parametrize(
    ("format", "right", "wrong"),
    [
        ({"type": "json_object"}, ["{}", '{"a": [1, {"b":null}]}'], ["[]", "{", '{"a"}']),
        ({"type": "regex", "pattern": "[ab]{2,3}"}, ["ab", "bab"], ["a", "abab", "xy"]),
        ({"type": "choice", "choices": ["yes", "a.b"]}, ["yes", "a.b"], ["axb", "no", "ye"]),
        ({"type": "grammar", "grammar": 'start: "a"+ "b"'}, ["aab"], ["b", "aa"]),
    ],
)
def test_an_answer_may_be_what_matches_and_nothing_else(
    format: dict[str, Any], right: list[str], wrong: list[str]
) -> None:
    for text in right:
        assert follows(matcher_of(**format), text), text
    for text in wrong:
        assert not follows(matcher_of(**format), text), text


def test_json_is_one_line_with_at_most_one_space_after_commas_and_colons() -> None:
    schema = {"properties": {"a": {"items": {"type": "integer"}}, "b": {"type": "string"}}}
    format = {"type": "json_schema", "schema": {"type": "object", **schema}}
    for text in ('{"a":[1,2],"b":"x  y"}', '{"a": [1, 2], "b": "x"}'):
        assert follows(matcher_of(**format), text)
    for text in ("{ ", '{"a" ', '{"a":  ', '{"a":[1 ', '{"a":[1,  ', '{"a":[1,\n', '{"a":[1]} '):
        matcher = matcher_of(**format)
        *before, last = ids_of(text)
        for token in before:
            assert token in allowed(matcher)
            matcher.advance(token)
        assert last not in allowed(matcher), text


def test_an_answer_is_complete_when_nothing_can_follow() -> None:
    matcher = matcher_of(type="regex", pattern="ab?")
    assert not matcher.advance(*ids_of("a"))
    assert allowed(matcher) == {END, *ids_of("b")}
    assert matcher.advance(*ids_of("b"))
    assert allowed(matcher) == {END}
    assert not matcher.failure


def test_neither_special_tokens_nor_padding_are_text() -> None:
    matcher = matcher_of(type="regex", pattern="(.|\n)*")
    special = {TOKENIZER.convert_tokens_to_ids(name) for name in ("<|im_start|>", "<|endoftext|>")}
    assert not allowed(matcher) & (special | set(range(len(TOKENIZER), VOCABULARY.vocab_size)))
    assert END in allowed(matcher)


def test_a_model_without_end_tokens_can_have_formats() -> None:
    vocabulary = make_vocabulary(served(TOKENIZER), len(TOKENIZER), [])
    matcher = compile_format(parsed(type="regex", pattern="a+"), vocabulary)
    assert allowed(matcher, MaskExecutor(vocabulary, 1)) == set(ids_of("a"))


def test_tokens_that_are_spelled_like_tags_are_text() -> None:
    tokenizer = tool_tokenizer()
    vocabulary = vocabulary_of(tokenizer)
    executor = MaskExecutor(vocabulary, 1)
    call = lark_json(
        {"type": "object", "properties": {"name": {"const": "f"}}, "required": ["name"]}
    )
    required = f'start: "<tool_call>\\n" call "\\n</tool_call>"\ncall: {call}'
    matcher = compile_format(parsed(type="grammar", grammar=required), vocabulary)
    tokens = tokenizer('<tool_call>\n{"name": "f"}\n</tool_call>')["input_ids"]
    assert tokens[0] == tokenizer.convert_tokens_to_ids("<tool_call>")
    for token in tokens[:-1]:
        assert token in allowed(matcher, executor)
        assert not matcher.advance(token)
    assert matcher.advance(tokens[-1])


def test_free_text_becomes_json_where_a_tool_call_begins() -> None:
    tokenizer = tool_tokenizer()
    vocabulary = vocabulary_of(tokenizer)
    executor = MaskExecutor(vocabulary, 1)
    call = lark_json({"const": {"name": "f"}})
    optional = (
        'start: (head call "\\n</tool_call>")* TEXT\nTEXT: /(.|\\n)*/\n'
        f'head[lazy]: TEXT "<tool_call>\\n"\ncall: {call}'
    )
    matcher = compile_format(parsed(type="grammar", grammar=optional), vocabulary)
    begins = tokenizer.convert_tokens_to_ids("<tool_call>")
    for token in tokenizer("Let me see: ")["input_ids"]:
        assert {token, begins, END} <= allowed(matcher, executor)
        matcher.advance(token)
    for token in tokenizer("<tool_call>\n")["input_ids"]:
        matcher.advance(token)
    assert allowed(matcher, executor) == set(tokenizer("{")["input_ids"])


@pytest.mark.parametrize(
    ("format", "message"),
    [
        ({"schema": {"uniqueItems": True}}, "format.schema: 'uniqueItems' is not supported"),
        ({"schema": {"items": {"not": {}}}}, "format.schema: 'not' is not supported"),
        ({"schema": {"pattern": "(?=a)"}}, "look-around"),
        ({"schema": {"$ref": "#"}}, "no text matches it"),
        ({"schema": {"type": "integer", "minimum": 3, "maximum": 2}}, "Unsatisfiable"),
        ({"schema": {"$ref": "http://127.0.0.1:9/"}}, "does not fetch"),
        ({"pattern": "(a"}, "format.pattern: a regular expression cannot be used: unclosed group"),
        ({"grammar": "start: foo"}, 'format.grammar: at 1(8): unknown name: "foo"'),
        ({"grammar": '{"grammars": []}'}, "format.grammar: "),
        ({"grammar": "start: <no_such_token>"}, "unknown special token"),
    ],
)
def test_a_format_that_cannot_be_followed_says_why(format: dict[str, Any], message: str) -> None:
    kind = {"schema": "json_schema", "pattern": "regex", "grammar": "grammar"}[next(iter(format))]
    with pytest.raises(InvalidArgumentError) as refused:
        matcher_of(type=kind, **format)
    assert message in refused.value.message
    assert "\n" not in refused.value.message


def _crossed(count: int) -> dict[str, Any]:
    """Returns a schema of 2**count objects."""
    return {
        "allOf": [
            {"anyOf": [{"properties": {f"p{i}_{j}": {"type": "integer"}}} for j in range(2)]}
            for i in range(count)
        ]
    }


@pytest.mark.parametrize(
    "format",
    [
        {"type": "json_schema", "schema": _crossed(8)},
        {"type": "json_schema", "schema": _crossed(40)},
        {"type": "regex", "pattern": "((((x{1,99}){1,99}){1,99}){1,99}){1,99}" * 50},
        {"type": "grammar", "grammar": "start: " + "(" * 9000 + '"a"' + ")" * 9000},
        {"type": "grammar", "grammar": "start: A\nA: /(.|\\n)*a.{200}/ & /(.|\\n)*b.{300}/"},
    ],
)
def test_what_grows_exponentially_is_either_followed_or_refused(format: dict[str, Any]) -> None:
    try:
        matcher = matcher_of(**format)
    except InvalidArgumentError:
        return
    assert allowed(matcher)


def test_rules_that_refer_to_each_other_need_no_more_than_a_deep_stack() -> None:
    count = 2600
    rules = "\n".join(f"r{rule}: r{rule + 1}" for rule in range(count))
    format = parsed(type="grammar", grammar=f'start: r0\n{rules}\nr{count}: "a"')
    found: list[Matcher] = []
    usual = threading.stack_size(512 * 1024 * 1024)
    try:
        thread = threading.Thread(target=lambda: found.append(compile_format(format, VOCABULARY)))
        thread.start()
    finally:
        threading.stack_size(usual)
    thread.join()
    assert allowed(found[0]) == set(ids_of("a"))

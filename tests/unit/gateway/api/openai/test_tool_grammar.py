"""The grammars of calls accept what the parser of calls finds, and nothing that it would not."""

from __future__ import annotations

from typing import Any

import pytest
from llguidance import LLMatcher

from gateway.api.openai.tool_call_stream import ParsedCall, ToolCallStream
from gateway.api.openai.tool_grammar import calling_grammar
from triton_models.grammars.vocabulary import make_vocabulary
from triton_models.model.tokenizer import load_tokenizer
from triton_models.settings import DEMO_MODEL_FOLDER

TOKENIZER = load_tokenizer(DEMO_MODEL_FOLDER)
VOCABULARY = make_vocabulary(TOKENIZER, len(TOKENIZER), [TOKENIZER.end_id or 0])
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}


def written(arguments: str, name: str = "weather") -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


ROME = written('{"city": "Rome", "days": 3}')
MARKER = written('{"city": "a</tool_call> b"}')
TIME = written("{}", "time")
WRONG = [
    written('{"days": 3}'),
    written('{"city": 3}'),
    written('{"city": "Rome", "x": 1}'),
    written("{}", "weather"),
    written('{"city": "Rome"}', "time"),
    written("{}", "other"),
    "<tool_call> none",
]


def grammar(**options: Any) -> str:
    return calling_grammar([("weather", SCHEMA, False), ("time", None, False)], **options)


def accepts(grammar: str, text: str) -> bool:
    matcher = LLMatcher(VOCABULARY, grammar)
    assert not matcher.is_error(), matcher.get_error()
    ids = TOKENIZER.encode(text).ids
    return matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("optional", [False, True])
def test_one_call_that_fits_is_accepted_always(several: bool, optional: bool) -> None:
    for call in (ROME, MARKER, TIME, written('{"city": "São Paulo"}')):
        assert accepts(grammar(several=several, optional=optional), call)
        stream = ToolCallStream(("weather", "time"))
        (parsed,) = [*stream.push(call), *stream.finish()]
        assert isinstance(parsed, ParsedCall)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("optional", [False, True])
@pytest.mark.parametrize("wrong", WRONG)
def test_a_call_that_does_not_fit_is_accepted_never(
    several: bool, optional: bool, wrong: str
) -> None:
    assert not accepts(grammar(several=several, optional=optional), wrong)


def test_several_calls_are_accepted_only_where_they_are_allowed() -> None:
    for optional in (False, True):
        both = f"{ROME}\n{TIME}"
        assert accepts(grammar(several=True, optional=optional), both)
        assert not accepts(grammar(several=False, optional=optional), both)


def test_text_is_accepted_only_where_calls_are_optional() -> None:
    for several in (False, True):
        for text in ("", "Hello <b>there</b>.\n"):
            assert accepts(grammar(several=several, optional=True), text)
            assert not accepts(grammar(several=several, optional=False), text)
        assert accepts(grammar(several=several, optional=True), f"See:\n{ROME}")
        assert not accepts(grammar(several=several, optional=False), f"See:\n{ROME}")
    assert accepts(grammar(several=True, optional=True), f"{ROME} and {TIME} done")


@pytest.mark.parametrize("several", [False, True])
def test_an_answer_can_be_a_call_or_json_that_fits_a_schema(several: bool) -> None:
    schema = {"type": "object", "properties": {"rain": {"type": "boolean"}}, "required": ["rain"]}
    lark = calling_grammar([("time", None, False)], several=several, optional=True, answer=schema)
    for accepted in ('{"rain": true}', TIME):
        assert accepts(lark, accepted)
    for refused in ("{}", "Yes.", f"Yes. {TIME}", f'{{"rain": true}}\n{TIME}', ROME):
        assert not accepts(lark, refused)
    assert accepts(lark, f"{TIME}\n{TIME}") == several


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"type": "string", "format": "weird"}}},
        {"properties": {"a": {"not": {"type": "string"}}}},
    ],
)
def test_what_cannot_be_enforced_is_refused_only_where_it_has_to_be(schema: Any) -> None:
    for strict in (False, True):
        lark = calling_grammar([("f", schema, strict)], several=False, optional=False)
        assert LLMatcher(VOCABULARY, lark).is_error() == strict


def test_a_schema_that_says_itself_what_else_there_may_be_is_left_as_it_is() -> None:
    open_ended = {**SCHEMA, "additionalProperties": {"type": "integer"}}
    lark = calling_grammar([("weather", open_ended, False)], several=False, optional=False)
    assert accepts(lark, written('{"city": "Rome", "x": 1}'))
    assert not accepts(lark, written('{"city": "Rome", "x": "1"}'))

"""Answers that follow a format, in one batch with answers that follow none."""

from __future__ import annotations

import json
import re
import threading
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.integration.asking import GREEDY, Answer, ask
from tests.tiny_model import make_tokenizer, served
from triton_models.contract.answer_format import AnswerFormat, parse_answer_format
from triton_models.contract.errors import ErrorCode
from triton_models.contract.request import GenerationRequest, SamplingParameters
from triton_models.contract.steering import SteeringParameters
from triton_models.engine.engine import Engine
from triton_models.engine.sequence import FinishReason, TokenChunk
from triton_models.grammars import compiler as compiler_module
from triton_models.grammars.matcher import compile_format
from triton_models.text.token_bytes import TokenBytes

PROMPT = list(range(40, 60))
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 9},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "likes": {"type": "array", "items": {"enum": ["tea", "coffee"]}, "maxItems": 3},
    },
    "required": ["name", "age", "likes"],
    "additionalProperties": False,
}
TOKEN_BYTES = TokenBytes(served(make_tokenizer()))


def format_of(**format: Any) -> AnswerFormat | None:
    return parse_answer_format(json.dumps(format))


def regex(pattern: str) -> AnswerFormat | None:
    return format_of(type="regex", pattern=pattern)


def text_of(chunks: list[TokenChunk]) -> str:
    tokens = [token for chunk in chunks for token in chunk.token_ids]
    return TOKEN_BYTES.join(tokens).decode(errors="replace")


def answer(engine: Engine, request: GenerationRequest) -> tuple[str, FinishReason | None]:
    chunks = ask(engine, request, PROMPT).all()
    return text_of(chunks), chunks[-1].finish_reason


def test_each_answer_of_a_batch_follows_its_own_format_or_none(engine: Engine) -> None:
    formats = [None, regex("[a-c]{4}"), None, regex("[0-9]+x"), format_of(type="json_object")] * 2
    requests = [
        GenerationRequest(
            SteeringParameters({"sarcasm": float(index)}),
            SamplingParameters(temperature=index % 2, seed=index, top_k=(0, 5)[index % 3 == 0]),
            max_tokens=12,
            stream=index % 4 < 2,
            format=format,
        )
        for index, format in enumerate(formats)
    ]
    alone = [answer(engine, request) for request in requests]
    together = [ask(engine, request, PROMPT) for request in requests]
    for (text, reason), each, format in zip(alone, together, formats, strict=True):
        chunks = each.all()
        assert (text_of(chunks), chunks[-1].finish_reason) == (text, reason)
        if format is not None and format.kind == "regex" and reason is FinishReason.STOP:
            assert re.fullmatch(format.source, text)
        if format is None:
            assert reason is FinishReason.LENGTH


def test_an_answer_ends_with_what_completes_its_format(engine: Engine) -> None:
    for stream in (False, True):
        request = GenerationRequest(
            sampling=GREEDY, max_tokens=20, stream=stream, format=regex("[a-c]{4}")
        )
        text, reason = answer(engine, request)
        assert re.fullmatch("[a-c]{4}", text)
        assert reason is FinishReason.STOP


def test_an_answer_that_completes_its_format_with_its_last_token_is_not_cut(
    engine: Engine,
) -> None:
    for max_tokens, expected in ((3, FinishReason.LENGTH), (4, FinishReason.STOP)):
        request = GenerationRequest(
            sampling=GREEDY, max_tokens=max_tokens, format=regex("[a-c]{4}")
        )
        text, reason = answer(engine, request)
        assert (len(text), reason) == (max_tokens, expected)


def test_the_least_number_of_tokens_holds_as_far_as_the_format_allows(engine: Engine) -> None:
    for pattern, most in (("a*", 9), ("(a|bb){1,3}", 6), ("ab", 2)):
        request = GenerationRequest(
            sampling=SamplingParameters(temperature=2.0, seed=1),
            max_tokens=9,
            min_tokens=7,
            format=regex(pattern),
        )
        text, reason = answer(engine, request)
        assert re.fullmatch(pattern, text)
        assert min(most, 7) <= len(text) <= most or pattern == "(a|bb){1,3}"
        assert reason is (FinishReason.LENGTH if len(text) == 9 else FinishReason.STOP)


def test_a_stop_string_ends_an_answer_inside_its_format(engine: Engine) -> None:
    request = GenerationRequest(
        sampling=GREEDY, max_tokens=20, stop_words=("y",), format=regex("xxyzz")
    )
    assert answer(engine, request) == ("xx", FinishReason.STOP)


def test_logprobs_are_those_of_the_model_and_not_of_the_format(engine: Engine) -> None:
    steering = SteeringParameters({"sarcasm": 1.0})
    free = GenerationRequest(steering, GREEDY, 1, logprobs=20)
    bound = GenerationRequest(steering, GREEDY, 1, logprobs=20, format=regex("[~]"))
    (of_free,), (of_bound,) = (
        ask(engine, request, PROMPT).all()[-1].logprobs for request in (free, bound)
    )
    assert [id for id, _ in of_bound.top] == [id for id, _ in of_free.top]
    tilde = make_tokenizer()("~")["input_ids"][0]
    assert of_bound.logprob == pytest.approx(dict(of_free.top).get(tilde, of_bound.logprob))
    assert of_bound.logprob < of_free.logprob


def test_prompts_that_share_a_prefix_follow_different_formats(engine: Engine) -> None:
    for pattern in ("[ab]{5}", "[cd]{5}", "[ab]{5}"):
        request = GenerationRequest(sampling=GREEDY, max_tokens=9, format=regex(pattern))
        assert re.fullmatch(pattern, answer(engine, request)[0])


def test_a_format_that_cannot_be_followed_fails_its_request_alone(engine: Engine) -> None:
    wrong = GenerationRequest(
        max_tokens=9, format=format_of(type="json_schema", schema={"uniqueItems": True})
    )
    right = GenerationRequest(sampling=GREEDY, max_tokens=9)
    failing, going = ask(engine, wrong, PROMPT), ask(engine, right, PROMPT)
    (last,) = failing.all()
    assert last.finish_reason is FinishReason.ERROR
    assert last.error_code is ErrorCode.INVALID_ARGUMENT
    assert last.error == "format.schema: 'uniqueItems' is not supported"
    assert len(going.tokens()) == 9


@pytest.fixture
def held_compiler(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Compiles nothing until it is told to go on."""
    go_on = threading.Event()

    def held(*args: Any) -> Any:
        assert go_on.wait(60)
        return compile_format(*args)

    monkeypatch.setattr(compiler_module, "compile_format", held)
    return go_on


def test_requests_overtake_those_whose_format_is_being_compiled(
    engine: Engine, held_compiler: threading.Event
) -> None:
    bound = GenerationRequest(sampling=GREEDY, max_tokens=9, format=regex("overtaken"))
    waiting = [ask(engine, bound, PROMPT) for _ in range(7)]  # more than there are rows
    assert len(ask(engine, GenerationRequest(sampling=GREEDY, max_tokens=9), PROMPT).tokens()) == 9
    assert all(each.chunks.empty() for each in waiting)
    held_compiler.set()
    assert [text_of(each.all()) for each in waiting] == ["overtaken"] * 7


def test_a_request_can_be_cancelled_while_its_format_is_being_compiled(
    engine: Engine, held_compiler: threading.Event
) -> None:
    request = GenerationRequest(max_tokens=9, format=regex("cancelled"))
    answers = [Answer(), Answer()]
    engine.cancel(engine.submit(request, PROMPT, answers[0].chunks.put))
    engine.submit(request, PROMPT, answers[1].chunks.put, "by id")
    counts: list[int] = []
    engine.cancel_by_id("by id", counts.append)
    for each in answers:
        assert each.all()[-1].finish_reason is FinishReason.CANCELLED
    held_compiler.set()
    assert answer(engine, request) == ("cancelled", FinishReason.STOP)
    assert counts == [1]
    assert all(each.chunks.empty() for each in answers)


LEAVES = st.one_of(
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.builds(lambda most: {"type": "string", "maxLength": most}, st.integers(0, 5)),
    st.builds(
        lambda low, more: {"type": "integer", "minimum": low, "maximum": low + more},
        st.integers(-99, 99),
        st.integers(0, 999),
    ),
    st.builds(
        lambda values: {"enum": values},
        st.lists(st.text(max_size=3), min_size=1, max_size=3, unique=True),
    ),
    st.just({"type": "string", "pattern": "^[a-f]{2}-[0-9]$"}),
)


def _object(properties: dict[str, Any], required: bool) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required else [],
        "additionalProperties": False,
    }


SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(_object, st.dictionaries(st.text(max_size=3), inner, max_size=3), st.booleans()),
        st.builds(
            lambda items, most: {"type": "array", "items": items, "maxItems": most},
            inner,
            st.integers(0, 2),
        ),
        st.builds(lambda options: {"anyOf": options}, st.lists(inner, min_size=1, max_size=2)),
    ),
    max_leaves=4,
)


@settings(max_examples=20)
@given(
    schema=SCHEMAS,
    trait=st.sampled_from(["sarcasm", "flattery", "helpfulness"]),
    scalar=st.sampled_from([-30.0, -2.0, 0.0, 1.0, 30.0]),
    temperature=st.sampled_from([0.0, 0.7, 2.0]),
    seed=st.integers(0, 2**64 - 1),
    penalty=st.sampled_from([1.0, 1.4]),
)
def test_no_steering_breaks_an_answers_schema(
    engine: Engine,
    schema: dict[str, Any],
    trait: str,
    scalar: float,
    temperature: float,
    seed: int,
    penalty: float,
) -> None:
    request = GenerationRequest(
        SteeringParameters({trait: scalar}),
        SamplingParameters(temperature=temperature, seed=seed, repetition_penalty=penalty),
        max_tokens=80,
        format=format_of(type="json_schema", schema=schema),
    )
    others = [
        ask(engine, GenerationRequest(sampling=GREEDY, max_tokens=20, format=each), PROMPT)
        for each in (None, format_of(type="json_schema", schema=PERSON))
    ]
    text, reason = answer(engine, request)
    assert reason in (FinishReason.STOP, FinishReason.LENGTH)
    if reason is FinishReason.STOP:
        jsonschema.validate(json.loads(text), schema)
    for each in others:
        each.all()

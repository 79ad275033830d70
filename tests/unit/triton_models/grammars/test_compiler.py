"""Compiling beside the engine: on other threads, once for a format, and never twice at once."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import pytest

from tests.tiny_model import make_tokenizer
from tests.unit.triton_models.grammars.vocabularies import vocabulary_of
from triton_models.contract.answer_format import AnswerFormat
from triton_models.contract.errors import ErrorCode, InvalidArgumentError, RequestError
from triton_models.grammars import compiler as compiler_module
from triton_models.grammars.compiler import GrammarCompiler, KeptFormats
from triton_models.grammars.matcher import Matcher, compile_format

VOCABULARY = vocabulary_of(make_tokenizer())


def regex(pattern: str) -> AnswerFormat:
    return AnswerFormat("regex", pattern, "format.pattern")


@pytest.fixture
def compiler() -> Iterator[GrammarCompiler]:
    compiler = GrammarCompiler(VOCABULARY)
    compiler.start()
    yield compiler
    compiler.stop()


def compiled(compiler: GrammarCompiler, format: AnswerFormat) -> Matcher | RequestError:
    results: queue.SimpleQueue[Matcher | RequestError] = queue.SimpleQueue()
    compiler.compile(format, results.put)
    return results.get(timeout=60)


def test_each_answer_has_a_matcher_of_its_own(compiler: GrammarCompiler) -> None:
    first, second = (compiled(compiler, regex("ab")) for _ in range(2))
    assert isinstance(first, Matcher)
    assert isinstance(second, Matcher)
    a, b = make_tokenizer()("ab")["input_ids"]
    assert not first.advance(a)
    assert not second.advance(a)
    assert first.advance(b)
    assert second.advance(b)


def test_a_format_is_compiled_once(
    compiler: GrammarCompiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(compiled(compiler, regex("a+")), Matcher)
    monkeypatch.setattr(compiler_module, "compile_format", None)
    assert isinstance(compiled(compiler, regex("a+")), Matcher)


def test_what_is_wrong_with_a_format_is_told(compiler: GrammarCompiler) -> None:
    error = compiled(compiler, regex("("))
    assert isinstance(error, InvalidArgumentError)
    assert "unclosed group" in error.message


def test_a_defect_ends_one_request_and_not_the_thread(
    compiler: GrammarCompiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pattern in ("x", "y", "z"):  # more than there are threads
        with monkeypatch.context() as broken:
            broken.setattr(compiler_module, "compile_format", None)
            error = compiled(compiler, regex(pattern))
        assert isinstance(error, RequestError)
        assert error.code is ErrorCode.INTERNAL
    assert isinstance(compiled(compiler, regex("x")), Matcher)


def test_what_takes_long_does_not_hold_up_the_next_format(
    compiler: GrammarCompiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, go_on = threading.Event(), threading.Event()

    def slow(format: AnswerFormat, *vocabulary: object) -> Matcher:
        if format.source == "slow":
            held.set()
            assert go_on.wait(60)
        return compile_format(format, VOCABULARY)

    monkeypatch.setattr(compiler_module, "compile_format", slow)
    results: queue.SimpleQueue[Matcher | RequestError] = queue.SimpleQueue()
    compiler.compile(regex("slow"), results.put)
    assert held.wait(60)
    assert isinstance(compiled(compiler, regex("quick")), Matcher)
    assert results.empty()
    go_on.set()
    assert isinstance(results.get(timeout=60), Matcher)


def test_the_formats_used_longest_ago_are_dropped() -> None:
    kept = KeptFormats(max_formats=2, max_bytes=100)
    formats = [regex(pattern) for pattern in ("a", "b", "c")]
    for format in formats[:2]:
        kept.put(format, compile_format(format, VOCABULARY))
    assert kept.get(formats[0])
    kept.put(formats[2], compile_format(formats[2], VOCABULARY))
    assert [kept.get(format) is not None for format in formats] == [True, False, True]


def test_kept_formats_are_bounded_by_their_length_together() -> None:
    kept = KeptFormats(max_formats=10, max_bytes=100)
    formats = [regex(letter * 60) for letter in "ab"]
    for format in formats:
        for _ in range(2):  # a second time it is not counted again
            kept.put(format, compile_format(format, VOCABULARY))
    assert [kept.get(format) is not None for format in formats] == [False, True]
    kept.put(regex("c" * 101), compile_format(formats[0], VOCABULARY))
    assert kept.get(regex("c" * 101)) is None

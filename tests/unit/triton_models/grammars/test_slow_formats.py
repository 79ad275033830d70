"""What takes too long to compile is refused, and holds up nothing else for long."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import pytest

from tests.tiny_model import make_tokenizer
from tests.unit.triton_models.grammars.vocabularies import vocabulary_of
from triton_models.contract.answer_format import AnswerFormat
from triton_models.contract.errors import (
    CompilerBusyError,
    InvalidArgumentError,
    RequestError,
)
from triton_models.grammars import compiler as compiler_module
from triton_models.grammars.compiler import GrammarCompiler
from triton_models.grammars.matcher import Matcher, compile_format

VOCABULARY = vocabulary_of(make_tokenizer())
PATIENCE_SECONDS = 60
NUM_THREADS = 2
MOST_HELD = 4
"""Two threads that have others in their place, and those two."""


def regex(pattern: str) -> AnswerFormat:
    return AnswerFormat("regex", pattern, "format.pattern")


class HeldFormats:
    """Formats whose compiling takes until it is told to go on."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.go_on = threading.Event()

    def compile(self, format: AnswerFormat, *vocabulary: object) -> Matcher:
        if format.source.startswith("held"):
            self.threads.append(threading.current_thread())
            assert self.go_on.wait(PATIENCE_SECONDS)
        return compile_format(format, VOCABULARY)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldFormats]:
    formats = HeldFormats()
    monkeypatch.setattr(compiler_module, "compile_format", formats.compile)
    yield formats
    formats.go_on.set()


class Asked:
    """What was asked of a compiler."""

    def __init__(self, compiler: GrammarCompiler, pattern: str) -> None:
        self.results: queue.SimpleQueue[Matcher | RequestError] = queue.SimpleQueue()
        compiler.compile(regex(pattern), self.results.put)

    def result(self) -> Matcher | RequestError:
        return self.results.get(timeout=PATIENCE_SECONDS)


def start(seconds: float) -> GrammarCompiler:
    compiler = GrammarCompiler(VOCABULARY, seconds)
    compiler.start()
    return compiler


def test_what_takes_too_long_is_refused_by_name_with_the_limit(held: HeldFormats) -> None:
    compiler = start(0.001)
    asked = Asked(compiler, "held")
    error = asked.result()
    assert isinstance(error, InvalidArgumentError)
    assert error.message == (
        "format.pattern takes more than 0.001 seconds to compile: make it smaller or simpler"
    )
    held.go_on.set()
    compiler.stop()
    assert asked.results.empty()  # nothing is told twice


def test_others_are_compiled_while_as_many_as_there_are_threads_take_too_long(
    held: HeldFormats, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = start(0.001)
    for number in range(NUM_THREADS):
        assert isinstance(Asked(compiler, f"held{number}").result(), InvalidArgumentError)
    monkeypatch.setattr(compiler, "_seconds", PATIENCE_SECONDS)
    assert isinstance(Asked(compiler, "quick").result(), Matcher)
    held.go_on.set()
    compiler.stop()


def test_no_more_threads_are_started_than_promised_and_what_waits_is_refused(
    held: HeldFormats, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = start(PATIENCE_SECONDS)
    assert isinstance(Asked(compiler, "kept").result(), Matcher)
    monkeypatch.setattr(compiler, "_seconds", 0.001)
    for number in range(MOST_HELD):
        assert isinstance(Asked(compiler, f"held{number}").result(), InvalidArgumentError)
    assert len(set(held.threads)) == MOST_HELD
    assert all(thread.is_alive() for thread in held.threads)
    monkeypatch.setattr(compiler, "_seconds", PATIENCE_SECONDS)
    assert isinstance(Asked(compiler, "refused").result(), CompilerBusyError)
    assert isinstance(Asked(compiler, "kept").result(), Matcher)
    held.go_on.set()
    # As they end, they are taken up again, and as many as at first are left.
    assert isinstance(until_compiled(compiler, "quick"), Matcher)
    compiler.stop()


def test_what_waits_behind_the_last_thread_is_refused_with_it(held: HeldFormats) -> None:
    compiler = start(0.001)
    for number in range(MOST_HELD - 1):
        assert isinstance(Asked(compiler, f"held{number}").result(), InvalidArgumentError)
    asked = [Asked(compiler, f"held, waiting {number}") for number in range(3)]
    errors = [each.result() for each in asked]
    assert {type(error) for error in errors} == {InvalidArgumentError, CompilerBusyError}
    held.go_on.set()
    compiler.stop()


def test_what_was_refused_is_kept_when_it_is_compiled_after_all(
    held: HeldFormats, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = start(0.001)
    assert isinstance(Asked(compiler, "held").result(), InvalidArgumentError)
    held.go_on.set()
    (thread,) = held.threads
    thread.join(PATIENCE_SECONDS)
    monkeypatch.setattr(compiler_module, "compile_format", None)
    assert isinstance(Asked(compiler, "held").result(), Matcher)
    compiler.stop()


def until_compiled(compiler: GrammarCompiler, pattern: str) -> Matcher | RequestError:
    """Returns a matcher as soon as threads have come back to compile it."""
    for _ in range(10_000):
        result = Asked(compiler, pattern).result()
        if not isinstance(result, CompilerBusyError):
            return result
        threading.Event().wait(0.01)
    raise AssertionError("no thread came back")

"""Invariants 5 and 7 of the design: every request ends once, and what is too much is refused."""

from __future__ import annotations

import dataclasses
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.integration.asking import GREEDY, Answer, Hold, ask, standing
from tests.tiny_model import make_vectors
from triton_models.contract.errors import (
    EngineUnavailableError,
    ErrorCode,
    InvalidArgumentError,
    QueueFullError,
)
from triton_models.contract.request import GenerationRequest
from triton_models.contract.steering import SteeringParameters
from triton_models.engine.build import build_engine
from triton_models.engine.engine import Engine
from triton_models.engine.forward_pass import HookedForward
from triton_models.engine.sequence import FinishReason, TokenChunk
from triton_models.settings import ServerSettings
from triton_models.steering.row_steering import RowSteering

LONG = GenerationRequest(sampling=GREEDY, max_tokens=200, stream=True)
PROMPT = [1, 2, 3]


def test_operators_see_the_engine_s_thread_by_its_name(engine: Engine) -> None:
    ask(engine, dataclasses.replace(LONG, max_tokens=1), PROMPT).all()
    names = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
    assert "engine\n" in names


def test_running_and_waiting_requests_are_cancelled_by_id(engine: Engine) -> None:
    first = Hold()
    with standing(engine):
        engine.submit(LONG, PROMPT, first.emit, "mine")
        others = [ask(engine, LONG, PROMPT, "mine") for _ in range(7)]
    first.wait()
    statistics = engine.statistics
    assert (statistics.running, statistics.waiting) == (5, 3)
    counts: queue.SimpleQueue[int] = queue.SimpleQueue()
    engine.cancel_by_id("mine", counts.put)
    first.let_go()
    assert counts.get(timeout=60) == 8
    for answer in (first, *others):
        assert answer.all()[-1].finish_reason is FinishReason.CANCELLED
    engine.cancel_by_id("mine", counts.put)
    assert counts.get(timeout=60) == 0


def test_a_running_request_ends_within_two_steps_of_its_cancellation(engine: Engine) -> None:
    chunks: queue.SimpleQueue[TokenChunk] = queue.SimpleQueue()

    def emit(chunk: TokenChunk) -> None:
        chunks.put(chunk)
        if chunk.num_generated_tokens == 5 and chunk.finish_reason is None:
            engine.cancel_by_id("soon", lambda _: None)

    for _ in range(3):
        engine.submit(LONG, PROMPT, lambda _: None, "beside")
    engine.submit(LONG, PROMPT, emit, "soon")
    while (chunk := chunks.get(timeout=30)).finish_reason is None:
        pass
    assert chunk.finish_reason is FinishReason.CANCELLED
    assert 5 <= chunk.num_generated_tokens <= 7
    engine.cancel_by_id("beside", lambda _: None)


def test_a_cancelled_request_leaves_the_others_alone(engine: Engine) -> None:
    request = GenerationRequest(sampling=GREEDY, max_tokens=40)
    alone = ask(engine, request, PROMPT).tokens()
    kept = [ask(engine, request, PROMPT) for _ in range(3)]
    for _ in range(3):
        engine.cancel(engine.submit(LONG, PROMPT, lambda _: None))
    assert [answer.tokens() for answer in kept] == [alone] * 3


def test_past_the_bound_a_request_is_refused_at_once(engine: Engine) -> None:
    with standing(engine):
        answers = [ask(engine, LONG, PROMPT, "full") for _ in range(45)]
        with pytest.raises(QueueFullError, match="the maximum is 45; try again later"):
            engine.submit(LONG, PROMPT, lambda _: None)
    engine.cancel_by_id("full", lambda _: None)
    for answer in answers:
        answer.all()
    assert ask(engine, GenerationRequest(max_tokens=3), PROMPT).all()[-1].error == ""


@pytest.mark.parametrize(
    ("request_", "prompt", "message"),
    [
        (LONG, [], "the prompt is empty"),
        (LONG, [272], "token ids must be from 0 to 271"),
        (LONG, [-1], "token ids must be from 0 to 271"),
        (LONG, [1] * 256, "shorten the prompt by at least 1"),
        (LONG, [1] * 100, "set max_tokens to at most 156"),
    ],
)
def test_a_prompt_that_does_not_fit_is_refused(
    engine: Engine, request_: GenerationRequest, prompt: list[int], message: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        engine.submit(request_, prompt, lambda _: None)


def test_without_max_tokens_the_answer_ends_where_the_context_does(engine: Engine) -> None:
    (chunk,) = ask(engine, GenerationRequest(sampling=GREEDY), [1] * 250).all()
    assert (chunk.num_generated_tokens, chunk.finish_reason) == (6, FinishReason.LENGTH)


def test_a_step_that_fails_ends_its_requests_with_a_message_and_the_engine_goes_on(
    fresh_engine: Engine,
) -> None:
    expected = ask(fresh_engine, GenerationRequest(sampling=GREEDY, max_tokens=9), PROMPT).tokens()
    forward = fresh_engine._runner.forward
    assert isinstance(forward, HookedForward)
    block = forward._model.blocks[2]

    def burn(*_: Any) -> None:
        raise RuntimeError("the device is on fire")

    handle = block.register_forward_hook(burn)
    failed = [ask(fresh_engine, LONG, PROMPT), ask(fresh_engine, LONG, PROMPT)]
    for answer in failed:
        last = answer.all()[-1]
        assert (last.finish_reason, last.error_code) == (FinishReason.ERROR, ErrorCode.INTERNAL)
        assert "failed on the server" in last.error
        assert "on fire" not in last.error
    handle.remove()
    after = ask(fresh_engine, GenerationRequest(sampling=GREEDY, max_tokens=9), PROMPT)
    assert after.tokens() == expected
    assert fresh_engine.statistics.failed == 2


def test_steering_too_strong_fails_its_request_alone_and_leaves_nothing_in_its_row(
    settings: ServerSettings,
) -> None:
    engine = build_engine(
        settings.model_copy(update={"dtype": "float16", "cpu_packing": False})
    ).engine
    engine.start()
    request = GenerationRequest(sampling=GREEDY, max_tokens=30)

    def long_and_short() -> list[list[int]]:
        answers = [ask(engine, request, [7] * 20), ask(engine, request, PROMPT)]
        return [answer.tokens() for answer in answers]

    expected = long_and_short()
    healthy = ask(engine, request, [7] * 20)
    # One block's delta is just representable, so what two blocks add is not.
    strongest = 65_000 / float(abs(make_vectors()["maliciousness"].blocks[0]).max())
    too_strong = GenerationRequest(
        SteeringParameters({"maliciousness": strongest}), GREEDY, 30, monitor=("maliciousness",)
    )
    failed = ask(engine, too_strong, [9] * 60).all()[-1]
    assert failed.error_code is ErrorCode.INVALID_ARGUMENT
    assert "steering is too strong" in failed.error
    assert failed.readouts is None  # they would not be numbers
    assert healthy.tokens() == expected[0]
    for _ in range(3):
        assert long_and_short() == expected
    engine.stop(0)


def test_an_answer_of_one_token_cannot_be_steered_as_a_response(engine: Engine) -> None:
    steering = SteeringParameters({"sarcasm": 1.0}, positions="response")
    with pytest.raises(InvalidArgumentError, match="use max_tokens of at least 2"):
        engine.submit(GenerationRequest(steering, GREEDY, 1), PROMPT, lambda _: None)


def test_a_dead_engine_ends_every_request_and_takes_no_more(
    fresh_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die() -> None:
        raise MemoryError

    with standing(fresh_engine):
        answers = [ask(fresh_engine, LONG, PROMPT) for _ in range(8)]
        monkeypatch.setattr(fresh_engine._scheduler, "plan", die)
    for answer in answers:
        last = answer.all()[-1]
        assert (last.finish_reason, last.error_code) == (FinishReason.ERROR, ErrorCode.UNAVAILABLE)
    fresh_engine._thread.join(60)
    assert not fresh_engine.alive
    with pytest.raises(EngineUnavailableError):
        fresh_engine.submit(LONG, PROMPT, lambda _: None)
    counts: queue.SimpleQueue[int] = queue.SimpleQueue()
    fresh_engine.cancel_by_id("any", counts.put)
    assert counts.get(timeout=60) == 0


def test_others_compute_on_the_engine_s_thread_while_it_runs(fresh_engine: Engine) -> None:
    assert fresh_engine.call(threading.current_thread) is fresh_engine._thread
    assert fresh_engine.call(lambda: fresh_engine.call(lambda: 5)) == 5  # from there, at once

    def burn() -> None:
        raise ValueError("on fire")

    with pytest.raises(ValueError, match="on fire"):
        fresh_engine.call(burn)
    assert ask(fresh_engine, GenerationRequest(max_tokens=3), PROMPT).all()[-1].error == ""
    fresh_engine.stop(0)
    with pytest.raises(EngineUnavailableError):
        fresh_engine.call(lambda: 5)


def test_an_engine_that_was_never_started_ends_what_it_was_given(settings: ServerSettings) -> None:
    engine = build_engine(settings).engine
    answer = ask(engine, LONG, PROMPT)
    with pytest.raises(EngineUnavailableError):
        engine.call(lambda: 5)
    engine.stop(0)
    assert answer.all()[-1].error_code is ErrorCode.UNAVAILABLE


def test_a_request_that_cannot_be_set_up_fails_alone(fresh_engine: Engine) -> None:
    request = dataclasses.replace(LONG, max_tokens=3)
    with standing(fresh_engine):  # all three are set up at once
        before, broken = ask(fresh_engine, request, PROMPT), Answer()
        sequence = fresh_engine.submit(request, PROMPT, broken.chunks.put)
        sequence.steering = RowSteering.adding({1: torch.zeros(3)})  # the model is wider
        after = ask(fresh_engine, request, PROMPT)
    assert "could not be set up" in broken.all()[-1].error
    assert len(before.tokens()) == len(after.tokens()) == 3


def test_stopping_lets_open_requests_finish_while_there_is_time(fresh_engine: Engine) -> None:
    answers = [ask(fresh_engine, LONG, PROMPT) for _ in range(3)]
    fresh_engine.stop(drain_seconds=60)
    assert {answer.all()[-1].finish_reason for answer in answers} == {FinishReason.LENGTH}


def test_stopping_ends_what_does_not_finish_in_time(fresh_engine: Engine) -> None:
    first = Hold()
    with standing(fresh_engine):
        fresh_engine.submit(LONG, PROMPT, first.emit)
        others = [ask(fresh_engine, LONG, PROMPT) for _ in range(9)]
    first.wait()
    with ThreadPoolExecutor(1) as pool:
        stopped = pool.submit(fresh_engine.stop, drain_seconds=0)
        while not fresh_engine._stopping:
            time.sleep(0.01)
        first.let_go()
        stopped.result()
    for answer in (first, *others):
        assert answer.all()[-1].error_code is ErrorCode.UNAVAILABLE
        assert answer.chunks.empty()


def test_every_one_of_many_answers_ends_exactly_once(fresh_engine: Engine) -> None:
    request = GenerationRequest(sampling=GREEDY, max_tokens=5, stream=True)
    answers: list[Answer] = []
    for index in range(40):
        answer = Answer()
        answers.append(answer)
        sequence = fresh_engine.submit(request, PROMPT, answer.chunks.put)
        if index % 3 == 0:
            fresh_engine.cancel(sequence)
    for answer in answers:
        assert answer.all()[-1].finish_reason
        assert answer.chunks.empty()
    fresh_engine.stop(drain_seconds=5)
    statistics = fresh_engine.statistics
    assert (statistics.running, statistics.waiting) == (0, 0)
    assert statistics.finished + statistics.cancelled == 40

"""Random batches, drawn by hypothesis, give each request the tokens that it gives alone.

Invariant 1 of the design, for everything that shares a batch at once: arrivals, lengths, common
beginnings, steerings, cancellations, stop strings and readouts.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.integration.asking import GREEDY, Answer
from tests.integration.reference import agree, generate_alone
from tests.integration.test_engine_against_generate import STEERINGS, deltas
from tests.tiny_model import make_model, make_tokenizer, served
from triton_models.contract.request import GenerationRequest
from triton_models.contract.steering import SteeringParameters
from triton_models.engine.engine import Engine
from triton_models.engine.sequence import FinishReason, Sequence, TokenChunk
from triton_models.text.token_bytes import TokenBytes

MODEL = make_model()
TOKEN_BYTES = TokenBytes(served(make_tokenizer()))
BEGINNINGS = [[(7 * i + 3 * k) % 256 for i in range(70)] for k in range(2)]
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"cpu_packing": False, "prefix_reuse": False, "overlap": "off"},
    "default": {},
    "overlapping in little room": {"overlap": "on", "kv_cache_tokens": 300},
}


@dataclass(frozen=True)
class Case:
    """A drawn request, and what happens to it."""

    steering: SteeringParameters
    prompt: tuple[int, ...]
    max_tokens: int
    stream: bool
    stop_at: int | None
    """Which of the tokens of the answer alone is to be the stop string."""
    cancel_after: int | None
    """After how many chunks it is cancelled."""
    monitor: bool
    pause: float


@st.composite
def cases(draw: st.DrawFn) -> Case:
    steering = draw(st.sampled_from(STEERINGS))
    shared = draw(st.sampled_from(BEGINNINGS))[: draw(st.sampled_from([0, 3, 17, 40, 70]))]
    tail = draw(st.lists(st.integers(0, 255), min_size=1, max_size=12))
    return Case(
        steering,
        (*shared, *tail),
        draw(st.integers(2 if steering.positions == "response" else 1, 20)),
        draw(st.booleans()),
        draw(st.none() | st.integers(0, 12)),
        draw(st.none() | st.integers(0, 4)),
        draw(st.booleans()),
        draw(st.sampled_from([0.0, 0.0, 0.01])),
    )


@cache
def alone(case_prompt: tuple[int, ...], max_tokens: int, index: int) -> list[int]:
    steering = STEERINGS[index]
    request = GenerationRequest(steering)
    return generate_alone(MODEL, list(case_prompt), max_tokens, deltas(request), steering.positions)


def reference(case: Case) -> list[int]:
    return alone(case.prompt, case.max_tokens, STEERINGS.index(case.steering))


def stop_word(case: Case) -> str | None:
    """Returns the text of the token to stop at, where it is a character by itself."""
    expected = reference(case)
    if case.stop_at is None or case.stop_at >= len(expected):
        return None
    text = TOKEN_BYTES[expected[case.stop_at]]
    return text.decode() if text.isascii() and text else None


class Cancelling(Answer):
    """Collects chunks and cancels its request after some."""

    def __init__(self, engine: Engine, cancel_after: int | None) -> None:
        super().__init__()
        self._engine = engine
        self._left = cancel_after
        self.sequence: Sequence | None = None

    def emit(self, chunk: TokenChunk) -> None:
        self.chunks.put(chunk)
        if self._left is not None and self.sequence is not None:
            self._left -= 1
            if self._left == 0:
                self._engine.cancel(self.sequence)


@pytest.mark.parametrize("drawn_engine", list(VARIANTS.values()), ids=list(VARIANTS), indirect=True)
@hypothesis_settings(
    max_examples=15,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(batch=st.lists(cases(), min_size=1, max_size=10))
def test_any_batch_gives_each_request_what_it_gives_alone(
    drawn_engine: Engine, batch: list[Case]
) -> None:
    asked = []
    for case in batch:
        word = stop_word(case)
        request = GenerationRequest(
            case.steering,
            GREEDY,
            case.max_tokens,
            stop_words=(word,) if word else (),
            stream=case.stream,
            logprobs=2 if case.monitor else None,
            monitor=("sarcasm", "flattery") if case.monitor else (),
        )
        answer = Cancelling(drawn_engine, case.cancel_after)
        answer.sequence = drawn_engine.submit(request, list(case.prompt), answer.emit)
        if case.cancel_after == 0:
            drawn_engine.cancel(answer.sequence)
        asked.append((case, word, answer))
        time.sleep(case.pause)

    for case, word, answer in asked:
        check(case, word, answer.all())
    statistics = drawn_engine.statistics
    assert (statistics.running, statistics.waiting) == (0, 0)


def check(case: Case, word: str | None, chunks: list[TokenChunk]) -> None:
    """Checks an answer's tokens, and where and why it ended."""
    expected = reference(case)
    got = [token for chunk in chunks for token in chunk.token_ids]
    reason = chunks[-1].finish_reason
    assert reason is not FinishReason.ERROR, chunks[-1].error
    full = list(expected)
    if word:
        expected = expected[: [TOKEN_BYTES[token] for token in expected].index(word.encode())]
    if reason is FinishReason.CANCELLED:
        assert case.cancel_after is not None
        expected = expected[: len(got)]
        assert case.stream or case.cancel_after == 0
    else:
        assert reason is (FinishReason.STOP if word else FinishReason.LENGTH) or got != expected
    request = GenerationRequest(case.steering)
    assert agree(
        MODEL, list(case.prompt), expected, got, deltas(request), case.steering.positions
    ), (case, full)
    assert case.stream or len(chunks) == 1
    if case.monitor:
        assert sum(len(chunk.logprobs) for chunk in chunks) == len(got)
        assert set(chunks[-1].readouts or ()) == {"sarcasm", "flattery"}

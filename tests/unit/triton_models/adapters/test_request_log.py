"""What the engine's log says about a request."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from triton_models.adapters.request_log import log_end, log_refusal
from triton_models.contract.errors import ErrorCode, TraitNotLoadedError
from triton_models.engine.sequence import FinishReason, TokenChunk
from triton_models.engine.timeline import Phases


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [record.__dict__ for record in caplog.records]


def test_a_refusal_has_the_id_the_code_and_a_reason_of_bounded_length(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="triton_models")
    log_refusal("order/1", TraitNotLoadedError("unknown trait " + "x" * 10_000))
    (line,) = lines(caplog)
    assert (line["request_id"], line["code"]) == ("order/1", "not_found")
    assert line["reason"].startswith("unknown trait xxx")
    assert len(line["reason"]) <= 300


@pytest.mark.parametrize(
    ("reason", "level", "message"),
    [
        (FinishReason.ERROR, logging.WARNING, "a request failed"),
        (FinishReason.CANCELLED, logging.INFO, "a request was cancelled"),
        (FinishReason.STOP, logging.DEBUG, "a request finished"),
        (FinishReason.LENGTH, logging.DEBUG, "a request finished"),
    ],
)
def test_an_end_has_the_id_the_tokens_and_the_phases_that_there_were(
    reason: FinishReason, level: int, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="triton_models")
    failed = reason is FinishReason.ERROR
    chunk = TokenChunk(
        num_prompt_tokens=7,
        num_generated_tokens=3,
        finish_reason=reason,
        error="why" if failed else "",
        error_code=ErrorCode.INTERNAL if failed else None,
        phases=Phases(0.001, 0.02),
    )
    log_end("order/1", reason, chunk)
    (line,) = lines(caplog)
    assert (line["levelno"], line["message"]) == (level, message)
    assert (line["request_id"], line["prompt_tokens"], line["tokens"]) == ("order/1", 7, 3)
    assert (line["queue_ms"], line["prefill_ms"]) == (1.0, 20.0)
    assert "decode_ms" not in line
    assert line.get("reason") == ("why" if failed else None)


def test_what_goes_as_it_should_is_told_only_to_those_who_debug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="triton_models")
    log_end("order/1", FinishReason.STOP, TokenChunk(finish_reason=FinishReason.STOP))
    assert caplog.records == []

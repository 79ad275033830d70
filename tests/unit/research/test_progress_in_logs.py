"""What a log file is told of a long run: a line now and then, not a bar."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from persona_research.progress import LOG_SECONDS, progress_bar


def shown_at(seconds: Iterator[float], *done: int) -> None:
    """Reports what is done, each time at the next of these seconds."""
    now = next(seconds)

    with progress_bar("sarcasm: answers", 200, clock=lambda: now) as show:
        for each in done:
            now = next(seconds)
            show(each)


def test_a_log_gets_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    shown_at(iter((100.0, 101.0, 100 + LOG_SECONDS, 102 + LOG_SECONDS)), 1, 40, 41)
    said = capsys.readouterr()
    assert said.err == f"sarcasm: answers: 40 of 200, {LOG_SECONDS:.0f} s\n"
    assert said.out == ""


def test_what_is_done_soon_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    shown_at(iter((100.0, 101.0, 102.0)), 100, 200)
    assert capsys.readouterr().err == ""

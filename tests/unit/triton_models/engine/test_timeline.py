"""The phases of a request in the engine, and how they are told."""

from __future__ import annotations

import json
import time

import pytest

from tests.tiny_model import make_tokenizer, served
from triton_models.adapters.chunk_tensors import chunk_values
from triton_models.engine.sequence import TokenChunk
from triton_models.engine.timeline import Phases, RequestTimeline
from triton_models.text.token_bytes import TokenBytes

TOKEN_BYTES = TokenBytes(served(make_tokenizer()))


def test_the_engine_tells_each_phase_that_a_request_came_to() -> None:
    timeline = RequestTimeline()
    timeline.submit()
    assert timeline.phases().prefill is None
    timeline.admit()
    assert timeline.phases().decode is None
    first, second = (timeline.token(time.monotonic()) for _ in range(2))
    phases = timeline.phases()
    assert first >= 0
    assert second >= 0
    assert phases.prefill is not None
    assert phases.decode is not None
    assert first == pytest.approx(phases.queue + phases.prefill)
    assert phases.decode >= second


def test_timings_are_json_of_the_phases_there_were() -> None:
    values = chunk_values(TokenChunk(phases=Phases(0.25, 1 / 3)), TOKEN_BYTES)
    assert json.loads(values["timings"]) == {"queue": 0.25, "prefill": 0.333333}
    assert chunk_values(TokenChunk(), TOKEN_BYTES)["timings"] == ""

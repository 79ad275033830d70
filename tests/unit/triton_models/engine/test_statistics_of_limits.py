"""Counters that one thread reads while another adds to them."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import numpy as np

from triton_models.contract.request import GenerationRequest
from triton_models.contract.steering import Limit
from triton_models.engine import statistics
from triton_models.engine.kv_room import KVRoom
from triton_models.engine.sequence import FinishReason, TokenChunk
from triton_models.engine.statistics import StatisticsRecorder
from triton_models.steering.limits import LimitReached, ResolvedLimit


def stopped_by(trait: str) -> TokenChunk:
    resolved = ResolvedLimit(Limit(trait, 1.0, True), np.ones(2, np.float32), 0, 1.0, False)
    return TokenChunk(
        finish_reason=FinishReason.TRAIT_LIMIT, limits_reached=(LimitReached(resolved, 0, 2.0),)
    )


def test_limits_of_new_traits_are_counted_at_any_moment_of_a_snapshot() -> None:
    recorder = StatisticsRecorder()
    for trait in ("flattery", "sarcasm"):
        recorder.finished(GenerationRequest(), stopped_by(trait))
    num_added = 0

    def add_between_bytecodes(frame: FrameType, event: str, _argument: Any) -> Any:
        """Counts a limit wherever the engine's thread could come in between."""
        nonlocal num_added
        if frame.f_code.co_filename != statistics.__file__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            num_added += 1
            recorder.finished(GenerationRequest(), stopped_by(f"trait {num_added}"))
        return add_between_bytecodes

    before = sys.gettrace()
    sys.settrace(add_between_bytecodes)
    try:
        taken = recorder.snapshot(running=0, waiting=0, room=KVRoom(16))
    finally:
        sys.settrace(before)
    assert num_added > 0
    assert taken.limits_reached["flattery"] == taken.limits_reached["sarcasm"] == {"stop": 1}

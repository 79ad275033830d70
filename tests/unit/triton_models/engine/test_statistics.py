"""The engine's counters."""

from __future__ import annotations

import time

from tests.unit.triton_models.engine.test_scheduler import compute, make, make_scheduler
from triton_models.contract.request import GenerationRequest
from triton_models.engine.kv_room import KVRoom
from triton_models.engine.sequence import FinishReason, TokenChunk
from triton_models.engine.statistics import EngineStatistics, Histogram, StatisticsRecorder


def snapshot(recorder: StatisticsRecorder) -> EngineStatistics:
    return recorder.snapshot(running=0, waiting=0, room=KVRoom(16))


def test_a_value_counts_in_the_first_bucket_that_holds_it() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 7.0):
        histogram.observe(value)
    taken = histogram.snapshot()
    assert (taken.bounds, taken.counts, taken.total) == ((1.0, 2.0), (2, 1, 1), 10.0)


def test_tokens_are_counted_as_computed_reused_or_generated() -> None:
    recorder = StatisticsRecorder()
    scheduler = make_scheduler(2, chunk=64)
    first, second = make(40), make(40)
    for sequence in (first, second):
        recorder.submitted(sequence)
        scheduler.add(sequence)
    scheduler.admit()
    for _ in range(3):
        plan = scheduler.plan()
        recorder.stepped(plan)
        for sequence in plan.giving:
            recorder.generated(sequence, time.monotonic())
        compute(plan)
    recorder.finished(GenerationRequest(), TokenChunk(finish_reason=FinishReason.CANCELLED))
    counts = snapshot(recorder)
    assert (counts.prompt_tokens, counts.reused_tokens, counts.generated_tokens) == (41, 39, 5)
    assert (counts.steps, counts.cancelled, counts.finished) == (3, 1, 0)
    assert sum(counts.first_token_seconds.counts) == 2
    assert sum(counts.between_tokens_seconds.counts) == 3
    assert (sum(counts.batch_rows.counts), counts.batch_rows.total) == (3, 5)

"""The scheduler: first come, first served, within rows and the prefill budget."""

from __future__ import annotations

import pytest

from triton_models.contract.request import GenerationRequest, SamplingParameters
from triton_models.engine.kv_room import KVRoom
from triton_models.engine.rows import RowPool
from triton_models.engine.scheduler import Plan, Scheduler
from triton_models.engine.sequence import FinishReason, Sequence, TokenChunk, TokenLogprobs
from triton_models.steering.row_steering import RowSteering


def make(prompt_length: int, chunks: list[TokenChunk] | None = None) -> Sequence:
    request = GenerationRequest(sampling=SamplingParameters(temperature=0.0, seed=0))
    emitted: list[TokenChunk] = [] if chunks is None else chunks
    return Sequence(request, [1] * prompt_length, 10, RowSteering(), emitted.append, "")


def make_scheduler(num_rows: int, num_slots: int = 1000, chunk: int = 8) -> Scheduler:
    return Scheduler(num_rows, lambda _: chunk, KVRoom(num_slots))


def compute(plan: Plan) -> None:
    """Does to the sequences what a step of the engine does."""
    for sequence in plan.giving:
        sequence.append(65, b"A", ends=False)


def test_a_long_prompt_is_computed_in_chunks_beside_running_answers() -> None:
    scheduler = make_scheduler(4)
    short, long = make(2), make(20)
    scheduler.add(short)
    scheduler.admit()
    compute(scheduler.plan())
    scheduler.add(long)
    scheduler.admit()
    lengths = []
    while not long.num_generated:
        plan = scheduler.plan()
        assert plan.generating == [short]
        lengths.append(plan.prompts[0].length)
        compute(plan)
    assert lengths == [8, 8, 4]


def test_sequences_wait_for_a_row_in_the_order_they_came() -> None:
    scheduler = make_scheduler(1)
    first, second, third = make(1), make(1), make(1)
    for sequence in (first, second, third):
        scheduler.add(sequence)
    assert scheduler.admit() == [first]
    assert scheduler.num_running == 1
    first.finish(FinishReason.STOP)
    second.finish(FinishReason.CANCELLED)
    assert scheduler.remove_finished() == [first, second]
    assert scheduler.admit() == [third]
    assert third.row == 0


def test_generating_sequences_are_planned_by_row_before_prompts() -> None:
    scheduler = make_scheduler(3)
    sequences = [make(1), make(5), make(1)]
    for sequence in sequences:
        scheduler.add(sequence)
    scheduler.admit()
    compute(scheduler.plan())
    late = make(5)
    sequences[1].finish(FinishReason.STOP)
    scheduler.remove_finished()
    scheduler.add(late)
    scheduler.admit()
    assert [sequence.row for sequence in scheduler.plan().sequences] == [0, 2, 1]


def test_the_lowest_free_row_is_taken_and_only_taken_ones_come_back() -> None:
    pool = RowPool(3)
    assert [pool.take() for _ in range(3)] == [0, 1, 2]
    pool.give_back(1)
    pool.give_back(0)
    assert pool.take() == 0
    with pytest.raises(ValueError, match="row 1 is not taken"):
        pool.give_back(1)


def test_chunks_that_wait_together_join_to_one() -> None:
    one, other = TokenLogprobs(-0.1), TokenLogprobs(-0.2)
    first = TokenChunk((1, 2), 5, 3, 2, 0, (7,), (one, one))
    last = TokenChunk((3,), 1, 3, 3, 0, (), (other,), finish_reason=FinishReason.STOP)
    assert first.followed_by(last) == TokenChunk(
        (1, 2, 3), 6, 3, 3, 0, (7,), (one, one, other), finish_reason=FinishReason.STOP
    )


def test_every_sequence_ends_with_exactly_one_final_chunk() -> None:
    chunks: list[TokenChunk] = []
    sequence = make(3, chunks)
    for _ in range(10):
        sequence.append(65, b"A", ends=False)
    assert sequence.finished
    assert [chunk.finish_reason for chunk in chunks] == [FinishReason.LENGTH]
    assert (len(chunks[0].token_ids), chunks[0].num_bytes) == (10, 10)

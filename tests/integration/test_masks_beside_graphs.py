"""Masks reach the logits of steps that are replayed as graphs, and of those that are not.

On the CPU a replay is the recorded function itself, as in `test_decode_graphs.py`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.integration.stepping import make_runner, make_sequence, plan_of
from tests.integration.test_decode_graphs import loaded, replay_itself
from triton_models.engine.model_runner import ModelRunner
from triton_models.engine.sequence import Sequence
from triton_models.engine.token_masks import TokenMasks
from triton_models.steering.row_steering import RowSteering

NUM_STEPS = 6
ALLOWED = {17, 40, 171}


def masks(rows: list[int], vocabulary_size: int) -> TokenMasks:
    bits = np.zeros((len(rows), -(-vocabulary_size // 32) * 32), dtype=bool)
    bits[:, list(ALLOWED)] = True
    return TokenMasks(rows, np.packbits(bits, axis=1, bitorder="little"))


def tokens_of(runner: ModelRunner, masked: list[int]) -> list[list[int | None]]:
    """Runs a prompt step and some decode steps of three sequences, some of them masked."""
    sequences = [make_sequence(row, RowSteering(), [row + 1, 5, 9]) for row in range(3)]
    runner.assign(sequences)
    made = partial(masks, masked, runner.vocabulary_size)
    tokens: list[list[int | None]] = []
    prompting, generating = sequences, list[Sequence]()
    for _ in range(NUM_STEPS):
        plan = plan_of(generating, prompting)
        step = runner.launch(plan, made if masked else None).wait()
        tokens.append([token for _, token, _ in step])
        for sequence, token, _ in step:
            assert token is not None
            sequence.append(token, b"x", ends=False)
        prompting, generating = [], sequences
    return tokens


@pytest.mark.parametrize("recorded", [False, True])
def test_masked_rows_get_allowed_tokens_and_the_others_are_as_without_masks(
    tiny_model_folder: Path, recorded: bool
) -> None:
    runner = make_runner(loaded(tiny_model_folder))
    if recorded:
        runner.record(replay_itself)
    free = tokens_of(runner, [])
    bound = tokens_of(runner, [0, 2])
    for of_free, of_bound in zip(free, bound, strict=True):
        assert of_bound[1] == of_free[1]
        assert {of_bound[0], of_bound[2]} <= ALLOWED
    assert any(token not in ALLOWED for step in free for token in step)
    assert all(token in ALLOWED for step in tokens_of(runner, [0, 1, 2]) for token in step)

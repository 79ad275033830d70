"""The padding that CUDA graphs need changes nothing; that graphs are right needs a GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.integration.stepping import make_runner, make_sequence, start
from triton_models.engine.decode_graphs import batch_sizes, pad
from triton_models.engine.packed_batch import generating_batch
from triton_models.model.loading import load_model
from triton_models.settings import ServerSettings
from triton_models.steering.delta import SteeringDelta


def test_sizes_are_few_and_reach_the_most_rows() -> None:
    assert batch_sizes(1) == [1]
    assert batch_sizes(20) == [1, 2, 4, 8, 16, 20]


@torch.inference_mode()
def test_a_padded_batch_gives_the_logits_of_the_batch(tiny_model_folder: Path) -> None:
    settings = ServerSettings(device="cpu", dtype="float32")
    runner = make_runner(load_model(tiny_model_folder, settings))
    steered = SteeringDelta({1: torch.full((64,), 2.0)})
    sequences = [
        make_sequence(row, delta) for row, delta in enumerate([steered, SteeringDelta({})])
    ]
    start(runner, sequences)
    generating = runner._rows.generating(np.array([0, 1]), np.array([3, 3]))

    def logits(columns: np.ndarray) -> torch.Tensor:  # type: ignore[type-arg]
        batch = generating_batch(torch.from_numpy(columns), runner._last_tokens, 64)
        return runner.compute(batch)

    padded = pad(generating.columns, 4)
    assert padded[:, 2:].tolist() == [[0, 0]] * 4
    expected = logits(generating.columns)
    torch.testing.assert_close(logits(padded)[:2], expected)
    assert not torch.equal(expected[0], expected[1])
    torch.testing.assert_close(logits(generating.columns), expected)  # the dummies hurt no one


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
def test_replayed_steps_give_the_tokens_of_plain_ones(
    tiny_model_folder: Path, tiny_vectors_folder: Path
) -> None:
    from tests.integration.asking import GREEDY, ask
    from tests.integration.test_engine_against_generate import STEERINGS
    from triton_models.engine.build import build_engine
    from triton_models.request import GenerationRequest

    answers = []
    for cuda_graphs in (True, False):
        settings = ServerSettings(
            model_name=str(tiny_model_folder),
            vectors=tiny_vectors_folder,
            device="cuda",
            dtype="float16",
            cuda_graphs=cuda_graphs,
        )
        engine = build_engine(settings).engine
        engine.start()
        asked = [
            ask(engine, GenerationRequest(steering, GREEDY, 12), [1, 2, 3])
            for steering in STEERINGS
        ]
        answers.append([answer.tokens() for answer in asked])
        engine.stop(0)
    assert answers[0] == answers[1]

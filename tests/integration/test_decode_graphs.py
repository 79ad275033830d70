"""The padding that CUDA graphs need changes nothing; that graphs are right needs a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.integration.stepping import NUM_ROWS, make_sequence, make_shard, start
from triton_models.engine.decode_graphs import batch_sizes, pad, padding_batch
from triton_models.engine.model_loading import load_model
from triton_models.engine.model_runner import ModelRunner
from triton_models.engine.packed_batch import pack, upload_batch
from triton_models.engine.scheduler import Slice
from triton_models.settings import ServerSettings
from triton_models.steering.delta import SteeringDelta


def test_sizes_are_few_and_reach_the_most_rows() -> None:
    assert batch_sizes(1) == [1]
    assert batch_sizes(20) == [1, 2, 4, 8, 16, 20]


@torch.inference_mode()
def test_a_padded_batch_gives_the_logits_of_the_batch(tiny_model_folder: Path) -> None:
    settings = ServerSettings(device="cpu", dtype="float32")
    shard = make_shard(load_model(tiny_model_folder, settings))
    runner = ModelRunner(shard, NUM_ROWS, [])
    steered = SteeringDelta({1: torch.full((64,), 2.0)})
    sequences = [
        make_sequence(row, delta) for row, delta in enumerate([steered, SteeringDelta({})])
    ]
    start(runner, sequences)
    for sequence in sequences:
        sequence.num_in_flight = 0
        sequence.append(5, b"x", ends=False)
    slices = [Slice(each, 3, 1, True) for each in sequences]
    batch = upload_batch(pack(slices), torch.zeros(NUM_ROWS), shard.device)
    padding = padding_batch(4, 64, shard.device)
    padded = pad(batch, padding)
    assert padded.input_ids.tolist() == [5, 5, 0, 0]
    assert padded.token_starts.tolist() == [0, 1, 2, 3, 4]
    expected = shard.compute(batch)
    torch.testing.assert_close(shard.compute(padded)[:2], expected)
    assert not torch.equal(expected[0], expected[1])
    torch.testing.assert_close(shard.compute(batch), expected)  # nobody's slot hurts no one


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

"""What a GPU's variable-length attention is told, checked without one.

The kernel itself needs a GPU. Here a few lines that follow its documentation stand in for it, so
that the sequences' places, lengths and causality which the engine gives it are tested anywhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from tests.integration.stepping import NUM_ROWS, make_sequence, make_shard, start
from triton_models.engine import attention
from triton_models.engine.model_loading import LoadedModel, load_model
from triton_models.engine.model_runner import ModelRunner
from triton_models.engine.model_shard import ModelShard
from triton_models.engine.packed_batch import PackedBatch, pack, upload_batch
from triton_models.engine.scheduler import Plan, Slice
from triton_models.settings import ServerSettings
from triton_models.steering.delta import SteeringDelta


def documented_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float,
    window_size: tuple[int, int],
    enable_gqa: bool,
    seqused_k: torch.Tensor,
) -> torch.Tensor:
    """Does what `torch.nn.attention.varlen.varlen_attn` documents, one sequence after the other."""
    assert window_size == (-1, 0)
    assert {each.dtype for each in (cu_seq_q, cu_seq_k, seqused_k)} == {torch.int32}
    assert len(cu_seq_q) == len(cu_seq_k) == len(seqused_k) + 1
    attended = []
    for index, length in enumerate(seqused_k.tolist()):
        first, end = cu_seq_q[index : index + 2].tolist()
        place = int(cu_seq_k[index])
        assert end - first <= max_q
        assert length <= max_k
        mask = torch.ones(end - first, length, dtype=torch.bool).tril(length - (end - first))
        attended.append(
            scaled_dot_product_attention(
                query[first:end].transpose(0, 1)[None],
                key[place : place + length].transpose(0, 1)[None],
                value[place : place + length].transpose(0, 1)[None],
                attn_mask=mask,
                scale=scale,
                enable_gqa=enable_gqa,
            )[0].transpose(0, 1)
        )
    return torch.cat(attended)


@pytest.fixture
def loaded(tiny_model_folder: Path) -> LoadedModel:
    return load_model(tiny_model_folder, ServerSettings(device="cpu", dtype="float32"))


def mixed_batch(shard: ModelShard) -> PackedBatch:
    """Returns a step of two generating sequences, a prompt's later chunk and a whole prompt."""
    runner = ModelRunner(shard, NUM_ROWS, [])
    steered = SteeringDelta({1: torch.full((64,), 2.0)})
    generating = [make_sequence(row, steered, list(range(5 + row))) for row in range(2)]
    start(runner, generating)
    for sequence in generating:
        sequence.num_in_flight = 0
        sequence.append(5, b"x", ends=False)
    chunked = make_sequence(4, SteeringDelta({}), list(range(30)))
    runner.launch(Plan(slices=(Slice(chunked, 0, 20, False),))).wait()
    fresh = make_sequence(2, steered, list(range(50, 61)))
    slices = [Slice(each, each.num_computed, 1, True) for each in generating]
    slices += [Slice(chunked, 20, 10, True), Slice(fresh, 0, 11, True)]
    return upload_batch(pack(slices), torch.zeros(NUM_ROWS), shard.device)


@torch.inference_mode()
def test_both_ways_of_attending_give_the_same_logits(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = make_shard(loaded)
    batch = mixed_batch(shard)
    assert (len(batch.decodes), len(batch.prefills)) == (2, 2)
    expected = shard.compute(batch)
    called = []

    def attend(*args: Any, **kwargs: Any) -> torch.Tensor:
        called.append(1)
        return documented_attention(*args, **kwargs)

    monkeypatch.setattr(attention, "varlen_attn", attend)
    monkeypatch.setattr(attention.AttentionContext, "reads_in_place", True)
    torch.testing.assert_close(shard.compute(batch), expected, atol=1e-4, rtol=1e-4)
    assert len(called) == loaded.model.config.num_hidden_layers

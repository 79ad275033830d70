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

from tests.integration.stepping import (
    generate,
    make_runner,
    make_sequence,
    plan_of,
    recorded_logits,
    run,
    start,
)
from triton_models.engine.model_runner import ModelRunner
from triton_models.engine.scheduler import Plan, Slice
from triton_models.model import attention
from triton_models.model.loading import LoadedModel, load_model
from triton_models.settings import ServerSettings
from triton_models.steering.row_steering import RowSteering


def documented_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor,
    max_q: int,
    max_k: int,
    *,
    window_size: tuple[int, int],
    enable_gqa: bool,
    seqused_k: torch.Tensor,
) -> torch.Tensor:
    """Does what `torch.nn.attention.varlen.varlen_attn` documents, one sequence after the other.

    FlashAttention writes nothing for a query of no sequence, and 0 for one without any key.
    """
    assert window_size in ((-1, 0), (-1, -1))
    if window_size == (-1, -1):  # full attention, which is causal for single tokens only
        assert max_q == 1
    assert {each.dtype for each in (cu_seq_q, cu_seq_k, seqused_k)} == {torch.int32}
    assert len(cu_seq_q) == len(cu_seq_k) == len(seqused_k) + 1
    assert all(each.is_contiguous() for each in (cu_seq_q, cu_seq_k, seqused_k))
    assert int(cu_seq_q[0]) == 0
    assert int(cu_seq_q[-1]) == len(query)
    attended = []
    for index, length in enumerate(seqused_k.tolist()):
        first, end = cu_seq_q[index : index + 2].tolist()
        place = int(cu_seq_k[index])
        assert end - first <= max_q
        assert length <= max_k
        if first == end:
            continue
        mask = torch.ones(end - first, length, dtype=torch.bool).tril(length - (end - first))
        attended.append(
            scaled_dot_product_attention(
                query[first:end].transpose(0, 1)[None],
                key[place : place + length].transpose(0, 1)[None],
                value[place : place + length].transpose(0, 1)[None],
                attn_mask=mask,
                enable_gqa=enable_gqa,
            )[0].transpose(0, 1)
        )
    return torch.cat(attended)


@pytest.fixture
def loaded(tiny_model_folder: Path) -> LoadedModel:
    return load_model(tiny_model_folder, ServerSettings(device="cpu", dtype="float32"))


def logits_of_steps(runner: ModelRunner, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Runs prompts, generating sequences, and both in one step, and returns all logits."""
    logits = recorded_logits(runner, monkeypatch)
    steered = RowSteering.adding({1: torch.full((64,), 2.0)})
    generating = [make_sequence(row, steered, list(range(5 + row))) for row in range(2)]
    start(runner, generating)
    generate(runner, generating)
    chunked = make_sequence(4, RowSteering(), list(range(30)))
    fresh = make_sequence(2, steered, list(range(50, 61)))
    runner.assign([chunked, fresh])
    chunked.launch(20)
    runner.launch(Plan(prompts=(Slice(chunked, 0, 20, False),))).wait()
    run(runner, plan_of(generating, [chunked, fresh]))
    generate(runner, [*generating, fresh, chunked])
    return logits


def test_both_ways_of_attending_give_the_same_logits(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = logits_of_steps(make_runner(loaded), monkeypatch)
    for block in loaded.model.blocks:
        block._forward_hooks.clear()
    windows = []

    def attend(*args: Any, **kwargs: Any) -> torch.Tensor:
        windows.append(kwargs["window_size"])
        return documented_attention(*args, **kwargs)

    monkeypatch.setattr(attention, "varlen_attn", attend)
    monkeypatch.setattr(attention, "attends_in_place", lambda *_: True)
    got = logits_of_steps(make_runner(loaded), monkeypatch)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    # FlashAttention takes its fast path for single tokens only without any window.
    single, causal = (-1, -1), (-1, 0)
    steps = [[causal], [single], [causal], [single, causal], [single]]
    assert windows == [window for step in steps for window in step * len(loaded.model.blocks)]


@torch.inference_mode()
@pytest.mark.parametrize("longest", [1, 5, 600])
def test_long_and_short_sequences_attend_alike_together_and_alone(
    loaded: LoadedModel, longest: int
) -> None:
    model = loaded.model.architecture
    reaches = [longest, 3, 700, 1][: 3 if longest > 1 else 2]
    cache = attention.KVCache(model, sum(reaches), torch.float32, torch.device("cpu"))
    cache.blocks[0].normal_()
    firsts = [attention.FIRST_SLOT + sum(reaches[:index]) for index in range(len(reaches))]
    heads = torch.randn(len(reaches), model.num_heads + 2 * model.num_key_value_heads, 16)

    def attend(chosen: list[int]) -> torch.Tensor:
        positions = torch.tensor([reaches[index] - 1 for index in chosen])
        slots = positions + torch.tensor([firsts[index] for index in chosen])
        layout = attention.Layout(slots, positions, len(chosen), max(reaches))
        return attention.PackedAttention(cache, layout, model)(0, heads[chosen])

    together = attend(list(range(len(reaches))))
    for index in range(len(reaches)):
        torch.testing.assert_close(together[[index]], attend([index]))

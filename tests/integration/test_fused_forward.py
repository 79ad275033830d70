"""The fused kernels compute what the modules and their steering hooks do.

Without a GPU the kernels run in the compiler's interpreter, on small float32 models.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.integration.stepping import (
    generate,
    make_runner,
    make_sequence,
    plan_of,
    recorded_logits,
    run,
    start,
)
from tests.integration.test_decode_graphs import END_IDS, SAMPLINGS, Requests, replay_itself
from tests.unit.triton_models.kernels.interpreter import (
    leave_out_overflow_checks,
    patch_language_once,
)
from triton_models.engine import check_kernels
from triton_models.engine.check_kernels import Tolerance, disagreement, sampling_disagreement
from triton_models.engine.choose_forward import Kernels
from triton_models.engine.forward_pass import ForwardPass, HookedForward
from triton_models.engine.model_runner import ModelRunner
from triton_models.model.architecture import Architecture
from triton_models.model.attention import KVCache
from triton_models.model.linear import NumberFormat
from triton_models.model.loading import LoadedModel, load_model
from triton_models.model.transformer import Transformer
from triton_models.settings import ServerSettings
from triton_models.steering.row_steering import RowSteering
from triton_models.steering.table import SteeringTable

pytest.importorskip("triton")

from triton_models.engine import fused_forward
from triton_models.engine.fused_forward import FusedForward
from triton_models.kernels import block_sizes, few_rows
from triton_models.kernels.block_sizes import ProductBlocks

CPU = torch.device("cpu")


def take_few_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes kernels quick for the interpreter, which runs programs one after the other.

    Some tokens attend in several splits, some in one. Each program computes more of a product than
    on a GPU, in several steps where that takes one.
    """
    patch_language_once(monkeypatch)
    leave_out_overflow_checks(monkeypatch)  # the tests of single kernels have them
    monkeypatch.setattr(block_sizes, "_WANTED_PROGRAMS", 4)
    blocks = ProductBlocks(num_outputs=64, num_inputs=64, num_warps=4)
    for name in ("QUERY_KEY_VALUE", "OUTPUT", "DOWN", "HEAD"):
        monkeypatch.setattr(fused_forward, name, blocks)
    monkeypatch.setattr(few_rows, "GATE_UP", blocks)
    monkeypatch.setattr(check_kernels, "_PROMPT_TOKENS", 5)
    monkeypatch.setattr(check_kernels, "_SAMPLED_ROWS", 8)
    # Up to four steps of keys, in one split or in several.
    monkeypatch.setattr(check_kernels, "_MAX_ROOM", 100)


@pytest.fixture(autouse=True)
def few_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    take_few_programs(monkeypatch)
    monkeypatch.setattr(check_kernels, "_NUM_PROBED_ROWS", (1, 3))


BASE: dict[str, Any] = {
    "family": "qwen2",
    "vocabulary_size": 150,
    "hidden_size": 72,
    "intermediate_size": 100,
    "num_layers": 2,
    "num_heads": 6,
    "num_key_value_heads": 2,
    "head_size": 16,
    "max_positions": 400,
    "norm_epsilon": 1e-5,
    "qkv_bias": True,
    "output_bias": False,
    "mlp_bias": False,
    "qk_norm": False,
    "tied_embeddings": True,
}
ARCHITECTURES = {
    "as Qwen2.5": BASE,
    "as Qwen3": {**BASE, "qkv_bias": False, "qk_norm": True},
    "as Llama, with every bias": {**BASE, "output_bias": True, "mlp_bias": True},
    "heads of 80, one each": {**BASE, "num_heads": 3, "num_key_value_heads": 3, "head_size": 80},
    "heads of 96, all on one": {**BASE, "num_heads": 5, "num_key_value_heads": 1, "head_size": 96},
}


def make_model(shape: dict[str, Any], context: int = 400) -> Transformer:
    number_format = NumberFormat(torch.float32, torch.float32)
    model = Transformer(Architecture(**shape), number_format, context, CPU)
    generator = torch.Generator().manual_seed(7)
    model.head.weight = torch.nn.Parameter(torch.empty_like(model.embedding), requires_grad=False)
    for name, parameter in model.named_parameters():
        parameter.data.normal_(0.0, parameter.shape[-1] ** -0.5, generator=generator)
        if "norm" in name:
            parameter.data += 1.0
    return model


def forwards(
    model: Transformer, num_rows: int = 9, num_slots: int = 700
) -> tuple[FusedForward, HookedForward, KVCache, SteeringTable]:
    cache = KVCache(model.architecture, num_slots, torch.float32, CPU)
    size = model.architecture.hidden_size
    steering = SteeringTable(len(model.blocks), num_rows, size, torch.float32, CPU)
    hooked = HookedForward(model, cache, steering)
    return FusedForward(model, cache, steering, 400), hooked, cache, steering


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_they_agree_for_every_family(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(ARCHITECTURES[family])
    fused, hooked, cache, steering = forwards(model)
    for name in ("BLOCK_TOLERANCE", "LOGITS_TOLERANCE"):
        monkeypatch.setattr(check_kernels, name, Tolerance(1e-5, 1e-5))
    assert disagreement(fused, hooked, model, cache, steering) == ""
    assert not any(steering.of_block(block).any() for block in range(len(model.blocks)))


@pytest.mark.parametrize(("num_rows", "num_slots", "context"), [(1, 700, 400), (3, 16, 16)])
def test_the_smallest_server_is_checked_within_its_bounds(
    num_rows: int, num_slots: int, context: int
) -> None:
    model = make_model(ARCHITECTURES["as Qwen2.5"], context)
    fused, hooked, cache, steering = forwards(model, num_rows, num_slots)
    assert disagreement(fused, hooked, model, cache, steering) == ""


def test_sampling_kernels_that_are_wrong_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from triton_models.kernels import draw_from_all, penalties

    model = make_model(ARCHITECTURES["as Qwen2.5"])
    assert sampling_disagreement(model) == ""
    draw: Any = draw_from_all.draw_from_all

    def drawing_the_other_way(*args: Any) -> None:
        *before, draws, chosen = args
        draw(*before, 1 - draws, chosen)

    with monkeypatch.context() as patched:
        patched.setattr(draw_from_all, "draw_from_all", drawing_the_other_way)
        assert "sampling from the whole vocabulary" in sampling_disagreement(model)
    monkeypatch.setattr(penalties, "penalize", lambda *_: None)
    assert "penalties differ" in sampling_disagreement(model)


@pytest.mark.parametrize(
    "harm",
    [
        lambda block: block.heads.rotations.mul_(-1),
        lambda block: block.deltas.copy_(block.deltas.flip(0)),
        lambda block: block.mlp_norm.mul_(1.2),
    ],
)
def test_kernels_that_are_wrong_are_found_out(harm: Any) -> None:
    model = make_model(ARCHITECTURES["as Qwen2.5"])
    fused, hooked, cache, steering = forwards(model)

    def harmed(*args: Any) -> torch.Tensor:
        block = fused._blocks[0]
        sound = [each.clone() for each in (block.heads.rotations, block.deltas, block.mlp_norm)]
        harm(block)
        try:
            return fused(*args)
        finally:
            for each, copy in zip(
                (block.heads.rotations, block.deltas, block.mlp_norm), sound, strict=True
            ):
                each.copy_(copy)

    found = disagreement(harmed, hooked, model, cache, steering)  # type: ignore[arg-type]
    assert "differs from the modules' by" in found


@pytest.fixture
def loaded(tiny_model_folder: Path) -> LoadedModel:
    settings = ServerSettings(device="cpu", dtype="float32", cpu_packing=False)
    return load_model(tiny_model_folder, settings)


def fused_runner(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, end_ids: Any = ()
) -> ModelRunner:
    """Returns a runner on the CPU that computes and samples with the kernels."""
    from triton_models.engine import model_runner

    def choose(
        model: Transformer, cache: KVCache, steering: SteeringTable, length: int, _: bool
    ) -> tuple[ForwardPass, Kernels]:
        return FusedForward(model, cache, steering, length), Kernels(fused=True)

    with monkeypatch.context() as patched:
        patched.setattr(model_runner, "choose_forward", choose)
        return make_runner(loaded, end_ids)


def logits_of_steps(runner: ModelRunner, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Runs prompts, one and several generating sequences, and both, and returns all logits."""
    logits = recorded_logits(runner, monkeypatch)
    steered = RowSteering.adding({1: torch.full((64,), 2.0)})
    lengths = (2, 3, 4, 5, 34)
    generating = [make_sequence(row, steered, [*range(lengths[row])]) for row in range(5)]
    start(runner, generating)
    for count in (1, 2, 3, 5):
        generate(runner, generating[:count])
    fresh = make_sequence(5, RowSteering(), [50, 51, 52])
    runner.assign([fresh])
    run(runner, plan_of(generating, [fresh]))
    generate(runner, [*generating, fresh])
    return logits


def test_steps_give_the_logits_of_the_modules(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    got = logits_of_steps(fused_runner(loaded, monkeypatch), monkeypatch)
    expected = logits_of_steps(make_runner(loaded), monkeypatch)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_replayed_steps_of_kernels_give_the_tokens_of_the_modules(
    loaded: LoadedModel, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = fused_runner(loaded, monkeypatch, END_IDS)
    kernels.record(replay_itself)
    settings = ServerSettings(device="cpu", dtype="float32", cpu_packing=False)
    modules = make_runner(load_model(tiny_model_folder, settings), END_IDS)
    requests = Requests(5, SAMPLINGS)
    num_tokens = 0
    for _ in range(7):
        got, expected = requests.step((kernels, modules))
        assert got == expected
        num_tokens += len(got)
    assert num_tokens > 7

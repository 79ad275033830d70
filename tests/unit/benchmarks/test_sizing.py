"""The sizing guide: its formulas are what the engine allocates, and its tables what they give."""

from __future__ import annotations

import re
import runpy
from typing import Any

import pytest
import torch
from torch import nn
from transformers import Qwen2Config, Qwen2ForCausalLM

from launcher.settings import ROOT
from triton_models.engine.kv_size import GPU_SHARE, bytes_per_token, choose_num_slots
from triton_models.engine.model_runner import ModelRunner, RunnerSizes
from triton_models.engine.model_sizes import (
    MODELS,
    kv_bytes,
    num_parameters,
    qwen2,
    steering_bytes,
)
from triton_models.model.linear import NumberFormat
from triton_models.model.transformer import Transformer

# A script, not a module of a package: run for what it defines.
SIZING: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "sizing.py"))
CARDS, MIB, RESERVED_MIB = (SIZING[name] for name in ("CARDS", "MIB", "RESERVED_MIB"))
TABLES, Fit, in_flight, replicas, main = (
    SIZING[name] for name in ("TABLES", "Fit", "in_flight", "replicas", "main")
)
GUIDE = (ROOT / "docs" / "sizing.md").read_text()
SHAPES = [
    # hidden size, inner size, blocks, heads, key/value heads, vocabulary, tied
    (64, 160, 3, 4, 2, 320, True),
    (64, 160, 3, 4, 2, 320, False),
    (96, 64, 1, 6, 6, 331, True),
    (48, 128, 5, 6, 2, 331, False),
    (128, 96, 2, 4, 4, 256, True),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_engine_allocates_what_is_computed(
    shape: tuple[int, int, int, int, int, int, bool], dtype: torch.dtype
) -> None:
    architecture = qwen2(*shape)
    model = Transformer(architecture, NumberFormat(dtype, dtype), 50, torch.device("cpu"))
    model.head.weight = (
        model.embedding if architecture.tied_embeddings else nn.Parameter(model.embedding.clone())
    )
    weights = sum(parameter.nbytes for parameter in model.parameters())
    assert weights == num_parameters(architecture) * dtype.itemsize
    runner = ModelRunner(model, RunnerSizes(num_rows=7, num_slots=113, context_length=50), [])
    cache = sum(block.nbytes for block in runner._cache.blocks)
    assert cache == kv_bytes(architecture, 113, dtype)
    steering, rules = runner._steering, runner._steering.rules
    vectors = steering._deltas, rules.directions, rules.gate_directions
    assert sum(each.nbytes for each in vectors) == steering_bytes(architecture, 7, dtype)


@pytest.mark.parametrize("name", MODELS)
def test_the_published_models_have_as_many_weights_as_transformers_makes(name: str) -> None:
    sizes = MODELS[name]
    config = Qwen2Config(
        hidden_size=sizes.hidden_size,
        intermediate_size=sizes.intermediate_size,
        num_hidden_layers=sizes.num_layers,
        num_attention_heads=sizes.num_heads,
        num_key_value_heads=sizes.num_key_value_heads,
        vocab_size=sizes.vocabulary_size,
        tie_word_embeddings=sizes.tied_embeddings,
    )
    with torch.device("meta"):
        model = Qwen2ForCausalLM(config)
    assert sum(each.numel() for each in model.parameters()) == num_parameters(MODELS[name])


@pytest.mark.parametrize("name", MODELS)
def test_the_cache_is_as_long_as_the_engine_makes_it(name: str) -> None:
    config = MODELS[name]
    mib, _ = CARDS["141 GB (H200)"]
    fit = Fit(config, mib * MIB)
    free = (mib - RESERVED_MIB) * MIB - num_parameters(config) * 2
    per_token = bytes_per_token(config, torch.bfloat16)
    assert fit.cache_tokens == choose_num_slots(per_token, 0, 10**6, 1024, int(free * GPU_SHARE))


def test_requests_in_flight_and_replicas_follow_little_s_law() -> None:
    assert in_flight(rate=2, first_token=1, tokens=10, between=0.1) == pytest.approx(4)
    assert replicas(2, 1, 10, 0.1, rows=4, spread=1.0) == 1
    assert replicas(2, 1, 10, 0.1, rows=4, spread=0.5) == 2
    assert replicas(0.001, 1, 10, 0.1, rows=32) == 1


@pytest.mark.parametrize("name", TABLES)
def test_the_guide_has_the_tables_that_the_code_gives(name: str) -> None:
    assert TABLES[name]() in GUIDE, f"python scripts/sizing.py --tables has another {name}"


def test_the_guide_s_example_is_what_the_command_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (example,) = re.findall(r"\$ \.venv/bin/python scripts/sizing\.py (.*)\n((?:.+\n)+?)```", GUIDE)
    arguments, output = example
    assert main(arguments.split()) == 0
    assert capsys.readouterr().out == output


def test_what_does_not_fit_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", "Qwen2.5-32B", "--gpu-mib", "23034"]) == 1
    assert "does not fit" in capsys.readouterr().err

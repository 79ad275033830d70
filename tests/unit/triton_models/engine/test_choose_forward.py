"""What the fused kernels are not for, and what is said of it."""

from __future__ import annotations

import builtins
import dataclasses
import logging
from typing import Any

import pytest
import torch

from triton_models.engine import choose_forward
from triton_models.engine.choose_forward import Kernels
from triton_models.engine.forward_pass import HookedForward
from triton_models.model.architecture import Architecture
from triton_models.model.attention import KVCache
from triton_models.model.linear import NumberFormat
from triton_models.model.transformer import Transformer
from triton_models.steering.table import SteeringTable

CPU = torch.device("cpu")
ARCHITECTURE = Architecture("qwen2", 50, 64, 32, 1, 1, 1, 64, 128, 1e-6)


class OnGPU:
    """A device that says it is a GPU."""

    type = "cuda"


def choose(
    monkeypatch: pytest.MonkeyPatch,
    *,
    dtype: torch.dtype = torch.bfloat16,
    head_size: int = 64,
    wanted: bool = True,
    in_place: bool = True,
    on_gpu: bool = True,
) -> Kernels:
    """Returns what is chosen for a model on a CPU that passes for a GPU."""
    architecture = dataclasses.replace(ARCHITECTURE, head_size=head_size)
    model = Transformer(architecture, NumberFormat(dtype, dtype), 128, CPU)
    cache = KVCache(architecture, 200, dtype, CPU)
    steering = SteeringTable(1, 4, 64, dtype, CPU)
    cache.attends_in_place = in_place
    if on_gpu:
        monkeypatch.setattr(model, "device", OnGPU)
    forward, kernels = choose_forward.choose_forward(model, cache, steering, 128, wanted)
    assert isinstance(forward, HookedForward)
    assert not kernels.fused
    return kernels


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"dtype": torch.float32}, "they support bfloat16 and float16"),
        ({"head_size": 48}, "they support head sizes 64, 80, 96, 128"),
        ({"in_place": False}, "they need an NVIDIA GPU of compute capability 8.0 or later"),
        ({"wanted": False}, "FUSED_KERNELS is false"),
    ],
)
def test_what_does_not_fit_is_named_in_the_log_and_the_status(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    given: dict[str, Any],
    reason: str,
) -> None:
    with caplog.at_level(logging.WARNING):
        assert choose(monkeypatch, **given).reason == reason
    assert [record.getMessage() for record in caplog.records] == [
        f"the fused kernels are not used, which costs speed: {reason}"
    ]


def test_a_compiler_that_is_missing_or_fails_costs_speed_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real_import = builtins.__import__

    def importing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "triton_models.engine.fused_forward":
            raise RuntimeError("Failed to find C compiler.")
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", importing)
    reason = choose(monkeypatch).reason
    assert reason == "they do not run here: Failed to find C compiler."


def test_a_cpu_does_without_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert choose(monkeypatch, on_gpu=False).reason == "the model is on a CPU"
    assert not caplog.records

"""The check at the start finds kernels that follow other rules than the modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

pytest.importorskip("triton")

from tests.integration.test_fused_forward import (
    ARCHITECTURES,
    forwards,
    make_model,
    take_few_programs,
)
from triton_models.engine import check_kernels
from triton_models.engine.check_kernels import disagreement

HARMS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "counts": torch.zeros_like,
    "bounds": lambda tensor: tensor / 2,
    "directions": torch.neg,
    "thresholds": torch.neg,
    "windows": lambda tensor: tensor.flip(0),
}


@pytest.mark.parametrize("harmed", HARMS)
def test_kernels_that_follow_other_rules_are_found_out(
    monkeypatch: pytest.MonkeyPatch, harmed: str
) -> None:
    take_few_programs(monkeypatch)
    monkeypatch.setattr(check_kernels, "_NUM_PROBED_ROWS", (3,))
    model = make_model(ARCHITECTURES["as Qwen2.5"])
    fused, hooked, cache, steering = forwards(model)
    tensor: torch.Tensor = getattr(steering.rules, harmed)

    def with_other_rules(*args: Any) -> torch.Tensor:
        sound = tensor.clone()
        tensor.copy_(HARMS[harmed](tensor))
        try:
            return fused(*args)
        finally:
            tensor.copy_(sound)

    found = disagreement(with_other_rules, hooked, model, cache, steering)  # type: ignore[arg-type]
    assert "under operations and conditions, " in found
    assert "differs from the modules' by" in found

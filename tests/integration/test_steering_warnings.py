"""The engine knows the residual stream's norm, and warns of steering that exceeds it."""

from __future__ import annotations

from tests.integration.asking import GREEDY, ask
from triton_models.contract.request import GenerationRequest
from triton_models.contract.steering import SteeringParameters
from triton_models.engine.engine import Engine


def warnings(engine: Engine, scalar: float) -> tuple[str, ...]:
    steering = SteeringParameters({"sarcasm": scalar})
    request = GenerationRequest(steering=steering, sampling=GREEDY, max_tokens=2)
    return ask(engine, request, [1, 2, 3]).all()[-1].warnings


def test_more_than_the_residual_stream_is_warned_about(engine: Engine) -> None:
    (warning,) = warnings(engine, 1e6)
    assert "times as large as the residual stream" in warning
    assert warnings(engine, 1e-3) == ()

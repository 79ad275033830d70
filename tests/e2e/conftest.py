"""The real Triton Inference Server and the real gateway, started once for all tests here."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from transformers import Qwen2ForCausalLM

from launcher.loopback import loopback_settings
from launcher.stack import Stack
from tests.e2e.demo import TRAITS
from triton_models.settings import DATA_ROOT, DEMO_MODEL_FOLDER
from triton_models.vectors.formats import read_vector
from triton_models.vectors.persona_vector import PersonaVector

ONE_THREAD = {"OMP_NUM_THREADS": "1", "TORCH_THREADS": "1"}
START_SECONDS = 180.0
CONTROL_KEY = {"TRITON_CONTROL_KEY": "the-key-of-several-tritons-and-their-gateways"}


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running Triton with the demo model, and its gateway.

    Nobody calls its `tick`, so that it is not looked after: tests count what the engine does.
    Those that break something have a stack of their own.
    """
    settings = loopback_settings(tmp_path_factory.mktemp("run"), START_SECONDS)
    environment = {**ONE_THREAD, **CONTROL_KEY}
    with Stack(settings, environment, say=lambda _: None) as stack:
        yield stack
        if stack.triton:
            # After all that tests did to it, Triton waits fifteen seconds for its models to end.
            stack.triton.stop(patience_seconds=2)


@pytest.fixture(scope="session")
def address(stack: Stack) -> str:
    """Triton's gRPC address."""
    return stack.settings.grpc_address


@pytest.fixture(scope="session")
def api(stack: Stack) -> Iterator[httpx.Client]:
    """A plain HTTP client of the gateway."""
    with httpx.Client(base_url=stack.settings.gateway_url, timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def vectors() -> dict[str, PersonaVector]:
    """The demo model's vectors by trait."""
    return {trait: read_vector(DATA_ROOT / "vectors" / f"{trait}.json") for trait in TRAITS}


@pytest.fixture(scope="session")
def plain_model() -> Qwen2ForCausalLM:
    """The demo model without anything of the engine's."""
    model = Qwen2ForCausalLM.from_pretrained(DEMO_MODEL_FOLDER, dtype="float32")
    model.eval()
    return model

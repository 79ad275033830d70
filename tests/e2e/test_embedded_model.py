"""The embedded model, served as `serve.sh` serves it; skipped where its package is missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from launcher.loopback import loopback_settings
from launcher.processes import stub_models
from launcher.settings import ROOT
from launcher.stack import Stack
from persona_client.rest import PersonaClient
from persona_embedded.package import NAME, VECTORS, EmbeddedModelError, ensure_made
from tests.e2e.conftest import ONE_THREAD, START_SECONDS
from tests.e2e.demo import TRAITS
from triton_models.settings import DATA_ROOT

QUESTION = "What do you think of my plan to run a marathon?"
NUM_WORDS = 10
MAX_RESIDENT_GIB = 1.2


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = DATA_ROOT / "models" / NAME
    try:
        ensure_made(folder, lambda _: None)
    except EmbeddedModelError as error:
        pytest.skip(str(error))
    settings = loopback_settings(tmp_path_factory.mktemp("run"), START_SECONDS)
    served = {"MODEL_NAME": str(folder), "VECTORS_DIR": str(VECTORS)}
    with Stack(settings, {**ONE_THREAD, **served}, say=lambda _: None) as stack:
        yield stack


@pytest.fixture(scope="module")
def client(stack: Stack) -> PersonaClient:
    return PersonaClient(stack.settings.gateway_url, timeout=120)


def test_its_vectors_fit_and_are_calibrated_for_it(stack: Stack) -> None:
    status = httpx.get(f"{stack.settings.gateway_url}/status", timeout=60).json()
    assert status["model"] == NAME
    assert status["problems"] == []
    traits = httpx.get(f"{stack.settings.gateway_url}/api/v1/traits", timeout=60).json()["traits"]
    assert list(traits) == list(TRAITS)
    assert all(trait["warnings"] == [] for trait in traits.values())


def test_the_answers_at_the_top_of_the_readme_are_its_own(client: PersonaClient) -> None:
    # The beginnings: another processor rounds otherwise, and may go on otherwise.
    readme = (ROOT / "README.md").read_text()
    for scalar in (1.0, 0.0, -1.0):
        answer = client.generate(
            QUESTION, trait="flattery", scalar=scalar, temperature=0, max_tokens=40
        )
        assert f"| {scalar:g} | {' '.join(answer.response.split()[:NUM_WORDS])} " in readme


def test_it_needs_little_memory(stack: Stack, client: PersonaClient) -> None:
    client.baseline(QUESTION, max_tokens=4)
    assert stack.triton is not None
    stubs = {model: pid for pid, model in stub_models(stack.triton.pid).items()}
    assert _resident_gib(stubs["steered_qwen"]) < MAX_RESIDENT_GIB


def _resident_gib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (kibibytes,) = (line.split()[1] for line in lines if line.startswith("VmRSS"))
    return int(kibibytes) / 2**20

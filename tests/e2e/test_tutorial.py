"""The tutorial, run as it is written, on the demo model and a running server."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.loopback import loopback_settings
from launcher.settings import ROOT
from launcher.stack import Stack
from persona_client.rest import PersonaClient
from tests.e2e.conftest import ONE_THREAD, START_SECONDS
from tests.e2e.examples import activated, console_examples, on_ports_of
from tests.e2e.waiting import eventually
from triton_models.settings import DATA_ROOT

TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()
ACTIVATE = ". .venv/bin/activate"
STEP_SECONDS = 240
SERVED_WITHIN_SECONDS = 20


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the data of a checkout, which the tutorial changes."""
    for name in ("prompts", "vectors"):
        shutil.copytree(DATA_ROOT / name, tmp_path / "data" / name)
    return tmp_path


@pytest.fixture
def stack(checkout: Path) -> Iterator[Stack]:
    settings = loopback_settings(checkout / "run", START_SECONDS)
    environment = {
        **ONE_THREAD,
        "VECTORS_DIR": str(checkout / "data" / "vectors"),
    }
    with Stack(settings, environment, say=lambda _: None) as stack:
        yield stack


@pytest.mark.timeout(900)
def test_every_command_works_and_the_trait_is_served_as_it_is_made(
    checkout: Path, stack: Stack
) -> None:
    client = PersonaClient(stack.settings.gateway_url)
    question = "How do I learn chess?"
    plain = client.baseline(question, temperature=0, max_tokens=40).response
    for command, _ in console_examples(TUTORIAL):
        if command == ACTIVATE:
            continue  # the tests run in the environment already
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", on_ports_of(stack.settings, command)],
            capture_output=True,
            text=True,
            cwd=checkout,
            env=activated(stack.settings) | ONE_THREAD,
            timeout=STEP_SECONDS,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        if command.startswith("persona vectors evaluate"):
            assert eventually(lambda: _has_range(client), SERVED_WITHIN_SECONDS)
            steered = client.generate(
                question, trait="kindness", scalar=2.0, temperature=0, max_tokens=40
            )
            assert steered.response != plain
    assert eventually(lambda: "kindness" not in client.traits(), SERVED_WITHIN_SECONDS)
    assert sorted(path.name for path in (checkout / "data" / "vectors").iterdir()) == sorted(
        path.name for path in (DATA_ROOT / "vectors").iterdir()
    )


def _has_range(client: PersonaClient) -> bool:
    trait = client.traits().get("kindness")
    return trait is not None and "recommended_range" in trait.metadata

"""`--layers` of the commands that steer: the blocks reach the model, and mistakes are said."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from typer.testing import CliRunner

from gateway.settings import Settings
from persona_client.cli.app import app
from tests.unit.client.test_standard_input import Gateway
from tests.unit.gateway.protection_gateway import running
from tests.unit.gateway.served_gateway import served

pytestmark = pytest.mark.slow  # each loads a model


@pytest.mark.parametrize(
    ("command", "answers"),
    [
        (("generate", "hi", "--trait", "sarcasm", "--scalar", "2"), 1),
        (("generate", "hi", "--trait", "sarcasm", "--scalar", "2", "--json"), 1),
        (("compare", "hi", "--trait", "sarcasm", "--scalars", "1,2"), 2),
        (("compare", "hi", "--steer", "sarcasm=2", "--no-baseline"), 1),
        (("sweep", "hi", "--trait", "sarcasm", "--scalars", "1,2"), 2),
    ],
)
async def test_the_blocks_reach_the_model(
    monkeypatch: pytest.MonkeyPatch, command: Sequence[str], answers: int
) -> None:
    async with running(monkeypatch) as server, served(server.app, Settings()) as port:
        gateway = Gateway(server, f"http://127.0.0.1:{port}")
        status, _, err = await gateway.persona(*command, "--layers", "1,3-4", given=b"")
        assert (status, err) == (0, "")
        assert [list(each["layers"]) for each in server.asked] == [[1, 3, 4]] * answers


@pytest.mark.parametrize(
    ("layers", "more", "message"),
    [
        ("one", ("--trait", "sarcasm", "--scalar", "2"), "give blocks like 15,20 or 1-35"),
        ("4-2", ("--trait", "sarcasm", "--scalar", "2"), "give blocks like 15,20 or 1-35"),
        ("1", (), "say by what, as with --steer"),
    ],
)
def test_layers_that_cannot_be_meant_are_refused(
    layers: str, more: Sequence[str], message: str
) -> None:
    done = CliRunner().invoke(app, ["generate", "hi", "--layers", layers, *more])
    assert done.exit_code == 2
    assert message in " ".join(done.output.replace("│", " ").split())

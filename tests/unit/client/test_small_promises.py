"""What a researcher tries first: `with`, `--help` and a model's name that is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from persona_client.cli.app import app
from persona_client.triton import TritonPersonaClient
from triton_models.model.errors import ModelMissingError
from triton_models.model.folder import find_model
from triton_models.settings import ServerSettings

pytestmark = pytest.mark.slow  # each starts processes


def test_the_direct_client_is_a_context_manager_like_the_others() -> None:
    with TritonPersonaClient("localhost:1") as client:
        assert isinstance(client, TritonPersonaClient)


def test_the_help_says_all_that_the_groups_do() -> None:
    shown = " ".join(CliRunner().invoke(app, ["--help"]).output.replace("│", " ").split())
    assert (
        "Make, calibrate, evaluate, import, export, show and compare vectors; upload and remove"
        in shown
    )
    assert "evaluate-prompts ranks" in shown


def test_an_unknown_model_is_said_whatever_named_it(tmp_path: Path) -> None:
    with pytest.raises(ModelMissingError) as raised:
        find_model(ServerSettings(model_name="nosuch", model_cache=tmp_path))
    assert str(raised.value).startswith("the model nosuch is neither a folder nor in ")
    assert "MODEL_NAME or --model" in str(raised.value)
    extract = ("vectors", "extract", "sarcasm", "--model", "nosuch", "--output", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "persona_client.cli", *extract], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("error: the model nosuch is neither a folder nor in ")

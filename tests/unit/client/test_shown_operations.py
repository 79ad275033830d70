"""What `persona vectors show` and exports say of a vector that is meant for an operation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from persona_client.cli.app import app
from triton_models.vectors.formats import write_vector
from triton_models.vectors.persona_vector import PersonaVector


def invoke(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["vectors", *map(str, arguments)])


@pytest.mark.parametrize(
    ("operation", "words", "shown"),
    [
        (None, "be added", None),
        ("ablate", "ablate", {"kind": "ablate"}),
        (
            {"kind": "cap", "value": 90, "unit": "percentile"},
            "cap at p90",
            {"kind": "cap", "value": 90, "unit": "percentile"},
        ),
    ],
)
def test_show_says_what_a_vector_is_meant_for(
    tmp_path: Path, operation: Any, words: str, shown: Any
) -> None:
    metadata = {} if operation is None else {"operation": operation}
    file = tmp_path / "love.json"
    write_vector(PersonaVector("love", "m", {1: np.ones(4, np.float32)}, metadata), file)
    assert f"meant to: {words}\n" in invoke("show", file).stdout
    assert json.loads(invoke("show", file, "--json").stdout)["operation"] == shown
    imported = tmp_path / "to"
    assert invoke("import", file, "--to", imported).exit_code == 0
    assert json.loads(invoke("show", imported / "love.json", "--json").stdout)["operation"] == shown
    exported = invoke("export", file, tmp_path / "love.gguf").stdout
    assert ("other tools that read .gguf add it" in exported) == (operation is not None)

"""`--monitor-layers`: which blocks of a vector file come along, and what is no layer."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from persona_client.cli.app import app
from persona_client.cli.vector_files import request_vectors
from triton_models.settings import DATA_ROOT

FILE = f"mine={DATA_ROOT / 'vectors' / 'sarcasm.json'}"


@pytest.mark.parametrize(
    ("layers", "read_at", "sent"), [([2], [3], {2, 3}), ([2], [2], {2}), ([], [3], {1})]
)
def test_a_file_is_steered_only_where_it_would_be_without(
    layers: list[int], read_at: list[int], sent: set[int]
) -> None:
    assert set(request_vectors([FILE], layers, read_at)["mine"]) == sent  # type: ignore[arg-type]


@pytest.mark.parametrize("command", [("generate", "hi"), ("sweep", "hi", "--trait", "sarcasm")])
def test_what_is_no_layer_is_refused_by_the_option_s_name(command: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*command, "--monitor-layers", "3-1"])
    assert done.exit_code == 2
    said = " ".join(done.output.replace("│", " ").split())
    assert "--monitor-layers is '3-1': give blocks like 15,20 or 1-35" in said

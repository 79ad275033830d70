"""Which blocks the rows and single vectors of `.pt` files are: by names, options, row counts."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from persona_client.cli.app import app
from triton_models.vectors.formats import read_vector, read_vector_bytes, write_vector
from triton_models.vectors.persona_vector import VectorFileError
from triton_models.vectors.registry import ModelFit

ROWS = torch.arange(20.0).reshape(5, 4)
FIT = ModelFit("m", hidden_size=4, num_layers=4)


def saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "trait", "block"),
    [
        ("task_vector_layer-10.pt", "task_vector", 10),
        ("task-layer-3.pt", "task", 3),
        ("happy_layer_2.pt", "happy", 2),
        ("happy.layer2.pt", "happy", 2),
        ("happy-block-2.pt", "happy", 2),
    ],
)
def test_a_name_may_say_the_layer_in_several_ways(name: str, trait: str, block: int) -> None:
    vector = read_vector_bytes(saved(ROWS[2].clone()), name)
    assert (vector.trait_name, list(vector.blocks)) == (trait, [block])


def test_a_layer_that_is_given_counts_for_any_name() -> None:
    content = saved(ROWS[2].clone())
    assert list(read_vector_bytes(content, "15973.pt", layer=10).blocks) == [10]
    assert list(read_vector_bytes(content, "a_layer_2.pt", layer=10).blocks) == [10]
    counted = read_vector_bytes(content, "15973.pt", layer=10, convention="hidden-state")
    assert list(counted.blocks) == [9]


def test_the_import_is_told_the_layer(tmp_path: Path) -> None:
    file = tmp_path / "15973.pt"
    file.write_bytes(saved(ROWS[2].clone()))
    command = ["vectors", "import", str(file), "--trait", "t", "--to", str(tmp_path)]
    refused = CliRunner().invoke(app, command)
    assert (refused.exit_code, refused.output.count("\n")) == (1, 1)
    assert "say it with --layer" in refused.output
    assert CliRunner().invoke(app, [*command, "--layer", "10"]).exit_code == 0
    assert list(read_vector(tmp_path / "t.json").blocks) == [10]


def test_a_layer_is_refused_where_it_says_nothing(tmp_path: Path) -> None:
    with pytest.raises(VectorFileError, match="5 rows, not the single vector of a layer"):
        read_vector_bytes(saved(ROWS), "x.pt", layer=1)
    path = tmp_path / "x.json"
    write_vector(read_vector_bytes(saved(ROWS), "x.pt"), path)
    with pytest.raises(VectorFileError, match="says itself which layers it has"):
        read_vector(path, layer=1)


@pytest.mark.parametrize("content", [saved(np.ones(4)), pickle.dumps(np.ones(4), protocol=2)])
def test_an_array_is_called_an_array(content: bytes) -> None:
    with pytest.raises(VectorFileError, match=r"holds a NumPy array.*torch.from_numpy"):
        read_vector_bytes(content, "x_layer_2.pt")


def test_rows_of_blocks_do_not_pass_for_hidden_states() -> None:
    FIT.check(read_vector_bytes(saved(ROWS), "x.pt"))
    with pytest.raises(VectorFileError, match="as many as the model has blocks"):
        FIT.check(read_vector_bytes(saved(ROWS[1:].clone()), "x.pt"))
    told = read_vector_bytes(saved(ROWS[1:].clone()), "x.pt", convention="block")
    FIT.check(told)
    assert list(told.blocks) == [0, 1, 2, 3]
    FIT.check(read_vector_bytes(saved(ROWS[1:].clone()), "x.pt", convention="hidden-state"))


def test_what_was_imported_so_is_refused_by_the_server_too(tmp_path: Path) -> None:
    file = tmp_path / "blocks_only.pt"
    file.write_bytes(saved(ROWS[1:].clone()))
    command = ["vectors", "import", str(file), "--trait", "t", "--to", str(tmp_path)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0
    assert "its 4 rows were taken for the hidden states of a model of 3 blocks" in done.output
    with pytest.raises(VectorFileError, match="--convention block"):
        FIT.check(read_vector(tmp_path / "t.json"))
    done = CliRunner().invoke(app, [*command, "--convention", "block", "--overwrite"])
    assert (done.exit_code, "rows were taken" in done.output) == (0, False)
    FIT.check(read_vector(tmp_path / "t.json"))

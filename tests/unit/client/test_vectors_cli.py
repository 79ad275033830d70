"""`persona vectors`: files in and out, one line for an error, and status 1 for a difference."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from persona_client.cli.app import app
from triton_models.vectors.formats import read_vector, write_vector
from triton_models.vectors.persona_vector import PersonaVector

DATA = Path(__file__).parents[2] / "data" / "vectors"
ROOT = Path(__file__).parents[3]


def invoke(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["vectors", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one trait, of blocks 0 to 2."""
    folder = tmp_path / "vectors"
    folder.mkdir()
    blocks = {block: np.full(4, block + 1.0, np.float32) for block in range(3)}
    metadata = {"selected_layers": [1], "residual_norms": {"1": 8.0}, "note": "by hand"}
    write_vector(PersonaVector("sarcasm", "tiny", blocks, metadata), folder / "sarcasm.json")
    return folder


@pytest.mark.parametrize("form", ["json", "safetensors"])
def test_an_imported_file_is_in_the_folder_in_the_projects_own_form(
    tmp_path: Path, form: str
) -> None:
    result = invoke(
        "import", DATA / "repeng.gguf", "--trait", "love", "--model-name", "tiny",
        "--layers", "2,3", "--format", form, "--to", tmp_path / "new",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "love, blocks 1, 2, 3, 64 elements each" in result.stdout
    vector = read_vector(tmp_path / "new" / f"love.{form}")
    assert (vector.trait_name, vector.model_name) == ("love", "tiny")
    assert vector.selected_blocks == (2, 3)
    original = read_vector(DATA / "repeng.gguf")
    assert vector.blocks[3].tobytes() == original.blocks[3].tobytes()


def test_an_import_says_what_it_left_out_and_obeys_the_convention(tmp_path: Path) -> None:
    result = invoke("import", DATA / "sarcastic_response_avg_diff.pt", "--to", tmp_path)
    assert "row 4 (after the final norm" in result.stdout
    assert sorted(read_vector(tmp_path / "sarcastic.json").blocks) == [0, 1, 2]
    result = invoke(
        "import", DATA / "cvector_generator.gguf", "--convention", "hidden-state", "--to", tmp_path
    )
    assert sorted(read_vector(tmp_path / "cvector_generator.json").blocks) == [0, 1, 2]


def test_a_block_that_was_left_out_cannot_be_selected(tmp_path: Path) -> None:
    result = invoke(
        "import", DATA / "sarcastic_response_avg_diff.pt", "--layers", "3", "--to", tmp_path
    )
    assert result.exit_code == 1
    assert "after the final norm, not the output of block 3" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_trait_is_replaced_only_if_asked_and_never_has_two_files(folder: Path) -> None:
    arguments = ("import", DATA / "easysteer.gguf", "--trait", "sarcasm", "--to", folder)
    before = (folder / "sarcasm.json").read_bytes()
    for extra, hint in (((), "--overwrite"), (("--format", "safetensors"), "remove it first")):
        result = invoke(*arguments, *extra)
        assert result.exit_code == 1
        assert hint in result.stderr
    assert (folder / "sarcasm.json").read_bytes() == before
    assert invoke(*arguments, "--overwrite").exit_code == 0
    assert [path.name for path in folder.iterdir()] == ["sarcasm.json"]


@pytest.mark.parametrize("trait", ["../evil", "a/b", ".hidden", "a b"])
def test_a_name_cannot_leave_the_folder(folder: Path, trait: str) -> None:
    result = invoke("import", DATA / "repeng.gguf", "--trait", trait, "--to", folder)
    assert result.exit_code == 1
    assert "cannot name a trait's file" in result.stderr
    assert [path.name for path in folder.parent.rglob("*.json")] == ["sarcasm.json"]


@pytest.mark.parametrize("suffix", ["gguf", "pt", "svec", "safetensors", "json"])
def test_an_exported_file_is_equal_to_the_trait(folder: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"out.{suffix}"
    result = invoke("export", "sarcasm", out, "--folder", folder)
    assert result.exit_code == 0, result.output
    assert ("the names and the metadata are lost" in result.stdout) == (suffix in ("pt", "svec"))
    assert ("llama.cpp refuses direction.0" in result.stdout) == (suffix == "gguf")
    result = invoke("diff", "sarcasm", out, "--folder", folder)
    assert result.exit_code == 0
    assert result.stdout.endswith("equal\n")


def test_llama_cpp_gets_no_block_0(folder: Path, tmp_path: Path) -> None:
    arguments = ("export", "sarcasm", tmp_path / "x.gguf", "--folder", folder, "--for-llama-cpp")
    result = invoke(*arguments)
    assert result.exit_code == 1
    assert "leave it out with --layers 1-2" in result.stderr
    assert not (tmp_path / "x.gguf").exists()
    assert invoke(*arguments, "--layers", "1-2").exit_code == 0
    assert sorted(read_vector(tmp_path / "x.gguf").blocks) == [1, 2]


def test_show_prints_norms_and_selection(folder: Path) -> None:
    text = invoke("show", folder / "sarcasm.json").stdout
    rows = [line.split() for line in text.splitlines()]
    assert ["1", "4", "0.5000", "yes"] in rows
    assert ["2", "6"] in rows
    assert "note: by hand" in text
    document = json.loads(invoke("show", "sarcasm", "--folder", folder, "--json").stdout)
    assert document["sha256"] == read_vector(folder / "sarcasm.json").sha256
    assert document["blocks"][1] == {
        "block": 1,
        "norm": 4.0,
        "norm_over_residual": 0.5,
        "selected": True,
    }


def test_diff_compares_block_by_block(folder: Path, tmp_path: Path) -> None:
    blocks = {
        1: np.full(4, -4.0, np.float32),
        2: np.zeros(4, np.float32),
        7: np.ones(4, np.float32),
    }
    write_vector(PersonaVector("other", "", blocks), tmp_path / "other.safetensors")
    arguments = ("diff", "sarcasm", tmp_path / "other.safetensors", "--folder", folder)
    result = invoke(*arguments)
    assert result.exit_code == 1
    assert "only the first has blocks 0" in result.stdout
    assert "only the second has blocks 7" in result.stdout
    document = json.loads(invoke(*arguments, "--json").stdout)
    assert document["equal"] is False
    assert document["blocks"]["1"] == {"cosine": -1.0, "norm_ratio": 2.0, "equal": False}
    assert document["blocks"]["2"] == {"cosine": None, "norm_ratio": 0.0, "equal": False}
    assert (document["only_first"], document["only_second"]) == ([0], [7])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "rudeness"), "there is no vector of 'rudeness' in "),
        (("show", DATA / "README.md"), "unknown vector format '.md'"),
        (("diff", DATA / "repeng.gguf", DATA / "nothing.pt"), "nothing.pt: cannot be read"),
        (("export", DATA / "repeng.gguf", "out.txt"), "unknown vector format '.txt'"),
        (("export", DATA / "repeng.gguf", "out.pt"), "a row for every block from 0 on"),
        (("export", DATA / "repeng.gguf", "/nonexistent/out.gguf"), "No such file or directory"),
        (("export", DATA / "repeng.gguf", "x.gguf", "--layers", "9"), r"has no blocks [9]"),
        (
            ("import", DATA / "expected.json"),
            '"persona_vectors" of block coefficient has no "vector"',
        ),
    ],
)
def test_an_error_is_one_line(
    arguments: tuple[Any, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke(*arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("layers", ["a", "1-", "3-1", "-1", "1,,2", "1-99999"])
def test_wrong_layers_are_wrong_usage(layers: str, tmp_path: Path) -> None:
    result = invoke("export", DATA / "repeng.gguf", tmp_path / "x.gguf", f"--layers={layers}")
    assert result.exit_code == 2


@pytest.mark.parametrize(
    ("missing", "arguments", "message"),
    [
        (
            "numpy",
            ("show", "repeng.gguf"),
            "error: this needs the package numpy: in a clone of the project, pip install",
        ),
        ("torch", ("export", "repeng.gguf", "x.pt"), "needs the torch package to be written"),
        ("gguf", ("export", "repeng.gguf", "x.gguf"), "needs the gguf package to be written"),
    ],
)
def test_a_missing_package_is_one_line_that_says_what_to_install(
    missing: str, arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    script = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from persona_client.cli.app import app\n"
        f"app(['vectors', *sys.argv[1:]])"
    )
    paths = [str(DATA / part) if part[0] in "er" and "." in part else part for part in arguments]
    result = subprocess.run(
        [sys.executable, "-c", script, *paths],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert result.returncode == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert "pip install " in result.stderr

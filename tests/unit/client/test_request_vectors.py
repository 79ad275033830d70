"""Vectors that a program or a command sends along with a prompt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer

from persona_client import calls
from persona_client.cli.vector_files import request_vectors
from persona_client.errors import InvalidRequestError
from persona_client.triton import make_inputs
from persona_client.vectors import Vector, vectors_json
from triton_models.contract.request_vectors import parse_request_vectors
from triton_models.vectors.formats import write_vector
from triton_models.vectors.persona_vector import PersonaVector

NUMBERS = [0.1, -2.5, 3e-8]


def read_back(document: Any) -> dict[str, dict[int, list[float]]]:
    """Returns what the server makes of it."""
    vectors = parse_request_vectors({"vectors": [json.dumps(document)]})
    return {
        vector.name: {block: values.tolist() for block, values in vector.blocks.items()}
        for vector in vectors
    }


EXPECTED = np.array(NUMBERS, np.float32).tolist()


@pytest.mark.parametrize(
    "numbers",
    [
        NUMBERS,
        tuple(NUMBERS),
        np.array(NUMBERS),
        np.array(NUMBERS, ">f4"),
        torch.tensor(NUMBERS),
        np.array([*NUMBERS, 9], np.float32)[:3],
    ],
    ids=["list", "tuple", "float64", "big-endian", "torch", "view"],
)
def test_an_array_of_any_kind_arrives_as_float32(numbers: Any) -> None:
    assert read_back(vectors_json({"mine": {15: numbers}})) == {"mine": {15: EXPECTED}}


@pytest.mark.parametrize(
    "numbers", [[[1.0, 2.0]], np.ones((2, 2)), np.float32(1), ["a"], [1e39], 1]
)
def test_what_is_no_vector_is_refused_before_it_is_sent(numbers: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"vectors\['mine'\]\[15\] must be an array of"):
        vectors_json({"mine": {15: numbers}})


def test_every_question_has_them() -> None:
    options: Any = {"vectors": {"mine": {15: NUMBERS}}}
    steered: Any = {**options, "steering": {"mine": 1.0}}
    for question in (
        calls.baseline("hi", options),
        calls.generation("hi", None, None, steered),
        calls.comparison("hi", [{"mine": 1.0}], True, options),
        calls.sweep("hi", calls.of_series("mine", [1.0], None, None), False, options),
    ):
        assert read_back(question.body["vectors"]) == {"mine": {15: EXPECTED}}
    inputs = make_inputs("hi", {"mine": 1.0}, options, stream=False)
    assert read_back(json.loads(inputs["vectors"][0])) == {"mine": {15: EXPECTED}}


def test_a_file_gives_the_layers_that_it_selects_or_those_that_are_named(tmp_path: Path) -> None:
    blocks = {block: np.full(3, block, np.float32) for block in (1, 2, 3)}
    file = tmp_path / "a=b.gguf"
    write_vector(PersonaVector("love", "m", blocks, {"selected_layers": [2]}), file)
    for layers, expected in (([], 2), ([3, 7], 3)):
        found = request_vectors([f"mine={file}"], layers)["mine"]
        assert not isinstance(found, Vector)
        assert list(found) == [expected]
    assert request_vectors(None, []) == {}
    with pytest.raises(typer.Exit):
        request_vectors([f"mine={file}"], [7])


def test_an_operation_that_a_vector_is_meant_for_goes_along(tmp_path: Path) -> None:
    vectors = {"mine": Vector({15: NUMBERS}, {"kind": "pin", "value": 2})}
    assert vectors_json(vectors)["mine"]["operation"] == {"kind": "pin", "value": 2}
    file = tmp_path / "x.safetensors"
    blocks = {1: np.ones(3, np.float32)}
    write_vector(PersonaVector("love", "m", blocks, {"operation": "ablate"}), file)
    found = request_vectors([f"mine={file}"], [])["mine"]
    assert isinstance(found, Vector)
    assert (list(found.layers), found.operation) == ([1], "ablate")


@pytest.mark.parametrize("given", [["mine"], ["=a.json"], ["mine="], ["a=x.json", "a=x.json"]])
def test_a_vector_needs_a_name_of_its_own_and_a_file(given: list[str], tmp_path: Path) -> None:
    write_vector(PersonaVector("love", "m", {1: np.ones(3, np.float32)}), tmp_path / "x.json")
    with pytest.raises(typer.BadParameter, match="give a name and a file, as mine="):
        request_vectors([each.replace("x.json", str(tmp_path / "x.json")) for each in given], [])


def test_a_file_that_is_none_ends_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"no")
    for name, message in (("broken.gguf", "broken.gguf: is"), ("missing.gguf", "cannot be read")):
        with pytest.raises(typer.Exit):
            request_vectors([f"mine={tmp_path / name}"], [])
        assert message in capsys.readouterr().err

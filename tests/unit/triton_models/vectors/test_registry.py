"""Vector files, the registry, and the deltas that requests make of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from triton_models.contract.errors import InvalidArgumentError, TraitNotLoadedError
from triton_models.contract.steering import SteeringParameters
from triton_models.steering.resolve import resolve_steering
from triton_models.vectors.formats import read_vector, write_vector
from triton_models.vectors.persona_vector import PersonaVector, VectorFileError
from triton_models.vectors.registry import ModelFit, VectorRegistry
from triton_models.vectors.vector_folder import VectorFolder

VALID: dict[str, Any] = {
    "trait_name": "sarcasm",
    "model_name": "Qwen/Qwen2.5-3B-Instruct",
    "vectors": {"15": [0.5, -1.0], "20": [2.0, 0.0]},
    "metadata": {"method": "by hand", "selected_layer": 20, "anything": [1, 2]},
    "version": "1.0",
}


def write(folder: Path, document: Any, name: str = "sarcasm.json") -> Path:
    path = folder / name
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def registry(**blocks: dict[int, list[float]]) -> VectorRegistry:
    return VectorRegistry(
        {
            name: PersonaVector(name, "m", {b: np.array(layers[b], np.float32) for b in layers})
            for name, layers in blocks.items()
        },
        {},
        (),
    )


def test_a_documented_file_is_read_with_its_metadata_kept(tmp_path: Path) -> None:
    vector = read_vector(write(tmp_path, VALID))
    assert vector.blocks[15].tolist() == [0.5, -1.0]
    assert vector.blocks[15].dtype == np.float32
    assert vector.selected_blocks == (20,)
    assert vector.metadata == VALID["metadata"]
    assert vector.norms == pytest.approx({15: 1.1180, 20: 2.0}, abs=1e-3)
    assert len(vector.sha256) == 64


def test_metadata_and_version_are_optional(tmp_path: Path) -> None:
    document = {key: VALID[key] for key in ("trait_name", "model_name", "vectors")}
    assert read_vector(write(tmp_path, document)).selected_blocks == (15, 20)


def test_a_written_file_reads_the_same(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=32).astype(np.float32) * 100
    vector = PersonaVector("t", "m", {3: values}, {"selected_layers": [3]})
    write_vector(vector, tmp_path / "t.json")
    read = read_vector(tmp_path / "t.json")
    assert read.blocks[3].tobytes() == values.tobytes()
    assert [path.name for path in tmp_path.iterdir()] == ["t.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ([], "must be an object"),
        ({"trait_name": " "}, "trait_name"),
        ({"vectors": {}}, "must map decoder blocks"),
        ({"vectors": {"-1": [1.0]}}, "'-1' is not a decoder block"),
        ({"vectors": {"3": [1.0], "03": [2.0]}}, "'03' is not a decoder block"),
        ({"vectors": {"3": []}}, "non-empty list of numbers"),
        ({"vectors": {"3": ["x"]}}, "not a number"),
        ({"vectors": {"3": [True]}}, "not a number"),
        ({"vectors": {"3": [float("nan")]}}, "not finite"),
        ({"vectors": {"3": [1e300]}}, "not finite"),
        ({"vectors": {"3": [1.0], "4": [1.0, 2.0]}}, "differ in length"),
        ({"metadata": {"selected_layer": 7}}, r"selects layers \[7\]"),
        ({"metadata": {"selected_layers": ["20"]}}, "must be integers"),
    ],
)
def test_a_bad_file_is_refused_by_name_and_reason(
    tmp_path: Path, change: Any, message: str
) -> None:
    document = {**VALID, **change} if isinstance(change, dict) else change
    with pytest.raises(VectorFileError, match=f"sarcasm.json: .*{message}"):
        read_vector(write(tmp_path, document))


def test_the_registry_keeps_what_fits_and_says_why_the_rest_does_not(tmp_path: Path) -> None:
    def other(trait: str, vectors: dict[str, list[float]]) -> dict[str, Any]:
        return {**VALID, "trait_name": trait, "vectors": vectors, "metadata": {}}

    (tmp_path / "own").mkdir()
    write(tmp_path, VALID, "a.json")
    write(tmp_path, {**VALID, "trait_name": "flattery"}, "own/flattery.json")
    write(tmp_path, VALID, "again.json")
    write(tmp_path, other("far", {"40": [1, 2]}), "f.json")
    write(tmp_path, other("wide", {"1": [1]}), "w.json")
    write(tmp_path, {"persona_vectors": {}}, "sarcasm_extended.json")
    found = VectorFolder(tmp_path, ModelFit("other", 2, 36)).refresh()
    assert sorted(found.vectors) == ["flattery", "sarcasm"]
    assert "made from Qwen/Qwen2.5-3B-Instruct, used on other" in found.warnings["sarcasm"][0]
    reasons = {problem.source: problem.reason for problem in found.problems}
    assert "already comes from a.json" in reasons["again.json"]
    assert "the model has blocks 0 to 35" in reasons["f.json"]
    assert "hidden size is 2" in reasons["w.json"]
    assert len(reasons) == 3


def test_without_a_usable_vector_an_unknown_trait_says_why(tmp_path: Path) -> None:
    def message() -> str:
        found = VectorFolder(tmp_path / "v", ModelFit("m", 9, 36)).refresh()
        with pytest.raises(TraitNotLoadedError) as raised:
            found.get("sarcasm")
        return raised.value.message

    assert "missing or empty" in message()
    (tmp_path / "v").mkdir()
    write(tmp_path / "v", VALID)
    assert "none of the 1 vector files can be used; the first: its vectors have 2" in message()


def test_several_traits_are_summed_and_rounded_once() -> None:
    vectors = registry(a={1: [1.0, 0.001]}, b={1: [0.0, 0.001], 2: [1.0, 1.0]})
    steering = resolve_steering(SteeringParameters({"a": 1.0, "b": 2.0}), vectors, torch.bfloat16)
    assert steering.prompt[1].tolist() == torch.tensor([1.0, 0.003]).bfloat16().tolist()
    assert steering.prompt[2].tolist() == [2.0, 2.0]


def test_scalar_zero_steers_by_nothing_but_its_trait_must_exist() -> None:
    vectors = registry(a={1: [1.0, 1.0]})
    assert not resolve_steering(SteeringParameters({"a": 0.0}), vectors, torch.float32).prompt
    with pytest.raises(TraitNotLoadedError, match="unknown trait 'b': the traits are a"):
        resolve_steering(SteeringParameters({"b": 0.0}), vectors, torch.float32)


@pytest.mark.parametrize(
    ("scalar", "layers", "message"),
    [
        (1.0, (2,), r"no layers \[2\]: it has \[1, 3\]"),
        (1e30, (1,), "overflows float16"),
        (1e5, (1,), "overflows float16"),
        (1e-30, (1,), "too small to steer"),
        (1.0, (3,), r"zero at layers \[3\]"),
    ],
)
def test_steering_that_cannot_take_effect_is_refused(
    scalar: float, layers: tuple[int, ...], message: str
) -> None:
    vectors = registry(a={1: [1.0, 1.0], 3: [0.0, 0.0]})
    with pytest.raises(InvalidArgumentError, match=message):
        resolve_steering(SteeringParameters({"a": scalar}, layers), vectors, torch.float16)

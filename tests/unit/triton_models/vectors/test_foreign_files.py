"""Vector files that other tools made: which block each number is for, and what it takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.tiny_model import HIDDEN_SIZE
from tests.unit.triton_models.vectors.files import DATA, example, torch_bytes
from triton_models.vectors.editing import only_blocks, with_selected
from triton_models.vectors.formats import Convention, encode_vector, read_vector, read_vector_bytes
from triton_models.vectors.persona_vector import VectorFileError

# --- Files that other tools made ----------------------------------------------------------------


def expected() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((DATA / "expected.json").read_text())
    return document


def seeded(layer: int, layers: Any, seed: int) -> NDArray[np.float32]:
    """The vector of a layer, as make.py draws it."""
    random = np.random.default_rng(seed)
    drawn = {each: random.normal(size=HIDDEN_SIZE).astype(np.float32) for each in layers}
    return drawn[layer]


def test_a_file_of_repeng_counts_blocks() -> None:
    vector = read_vector(DATA / "repeng.gguf", trait_name="love", model_name="tiny")
    directions = expected()["repeng"]["directions"]
    assert sorted(vector.blocks) == [1, 2, 3]
    for block, values in vector.blocks.items():
        assert values.tolist() == directions[str(block)]
    assert vector.metadata == {"model_hint": "qwen2", "layer_count": 3}
    assert (vector.trait_name, vector.model_name) == ("love", "tiny")


def test_rows_of_persona_vectors_count_hidden_states_and_the_normed_one_is_never_a_block() -> None:
    path = DATA / "sarcastic_response_avg_diff.pt"
    rows = torch.load(path, weights_only=True).numpy()
    vector = read_vector(path)
    assert vector.trait_name == "sarcastic"
    assert sorted(vector.blocks) == [0, 1, 2]
    for block in vector.blocks:
        assert vector.blocks[block].tobytes() == rows[block + 1].tobytes()
    assert "row 4 (after the final norm, not the output of block 3)" in str(vector.metadata)
    with pytest.raises(VectorFileError, match=r"no blocks \[3\].*after the final norm"):
        with_selected(vector, [3])


def test_a_file_of_easysteer_counts_blocks_and_has_the_first() -> None:
    vector = read_vector(DATA / "easysteer.gguf")
    assert sorted(vector.blocks) == [0, 1, 2, 3]
    assert vector.blocks[3].tobytes() == seeded(3, range(4), seed=2).tobytes()
    assert vector.metadata["method"] == "diffmean"
    assert vector.metadata["normalize"] == 1.0


def test_a_single_vector_of_easysteer_has_its_block_in_its_name() -> None:
    vector = read_vector(DATA / "easysteer_layer_2.pt")
    assert vector.trait_name == "easysteer"
    assert vector.blocks.keys() == {2}
    assert vector.blocks[2].tobytes() == seeded(2, [2], seed=3).tobytes()
    counted = read_vector(DATA / "easysteer_layer_2.pt", convention="hidden-state")
    assert counted.blocks.keys() == {1}


@pytest.mark.parametrize("name", ["dry.pt", "layer_1_layer_2.pt"])
def test_a_single_vector_without_one_clear_block_is_refused(name: str) -> None:
    content = (DATA / "easysteer_layer_2.pt").read_bytes()
    with pytest.raises(VectorFileError, match="does not say for which layer"):
        read_vector_bytes(content, name)


def test_cvector_generator_is_off_by_one_unless_told() -> None:
    path = DATA / "cvector_generator.gguf"
    as_applied = read_vector(path)
    as_trained = read_vector(path, convention=Convention.HIDDEN_STATE)
    assert sorted(as_applied.blocks) == [1, 2, 3]
    assert sorted(as_trained.blocks) == [0, 1, 2]
    for block, values in as_trained.blocks.items():
        assert values.tobytes() == seeded(block, range(3), seed=4).tobytes()
        assert values.tobytes() == as_applied.blocks[block + 1].tobytes()


def test_a_file_of_activation_steering_counts_the_inputs_of_blocks() -> None:
    path = DATA / "activation_steering.svec"
    vector = read_vector(path)
    assert sorted(vector.blocks) == [0, 1, 2]
    assert vector.blocks[0].tobytes() == seeded(1, range(1, 4), seed=1).tobytes()
    assert vector.metadata["model_type"] == "qwen2"
    assert vector.metadata["explained_variances"]["1"] == 0.5625
    assert sorted(read_vector(path, convention="block").blocks) == [1, 2, 3]


@pytest.mark.parametrize("name", ["x.svec", "x.gguf", "x.safetensors"])
def test_index_0_is_no_block_where_indices_count_hidden_states(name: str) -> None:
    content = encode_vector(example(), Path(name).suffix)
    if name.endswith(".svec"):
        content = content.replace(b'"1": [', b'"0": [', 1)
    with pytest.raises(VectorFileError, match="its index 0 means the embeddings"):
        read_vector_bytes(content, name, convention="hidden-state")


def test_the_analysis_beside_a_vector_can_be_imported() -> None:
    document = {"persona_vectors": {"15": {"vector": [3.0, 4.0], "l2_norm": 5.0}}}
    vector = read_vector_bytes(json.dumps(document).encode(), "sarcasm_extended.json")
    assert vector.trait_name == "sarcasm"
    assert vector.norms == {15: 5.0}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_is_read_as_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    from safetensors.torch import save

    values = torch.randn(8, generator=torch.Generator().manual_seed(0)).to(dtype)
    by_safetensors = read_vector_bytes(save({"block.3": values}), "t.safetensors")
    assert torch.equal(torch.from_numpy(by_safetensors.blocks[3]), values.float())
    torch.save(values, tmp_path / "t_layer_3.pt")
    by_torch = read_vector(tmp_path / "t_layer_3.pt")
    assert by_torch.blocks[3].tobytes() == by_safetensors.blocks[3].tobytes()
    assert by_safetensors.trait_name == by_torch.trait_name == "t"


def test_a_tensor_that_asks_for_gradients_or_is_a_view_is_read_as_its_numbers() -> None:
    values = torch.arange(20.0).reshape(4, 5)
    in_the_middle = torch.zeros(9, 7)
    in_the_middle[3:7, 1:6] = values
    for saved in (
        values.clone().requires_grad_(),
        values.t().contiguous().t(),
        values[:, :],
        in_the_middle[3:7, 1:6],
        torch._neg_view(-values),
    ):
        read = read_vector_bytes(torch_bytes(saved), "t.pt")
        assert read.blocks[1].tolist() == values[2].tolist()


def test_an_unknown_convention_is_refused() -> None:
    with pytest.raises(VectorFileError, match="use block, hidden-state"):
        read_vector(DATA / "repeng.gguf", convention="rows")
    with pytest.raises(VectorFileError, match="counts decoder blocks"):
        read_vector_bytes(encode_vector(example(), ".json"), "x.json", convention="hidden-state")


def test_chosen_blocks_keep_what_of_them_was_selected() -> None:
    chosen = only_blocks(with_selected(example(), [0, 2]), [1, 2])
    assert sorted(chosen.blocks) == [1, 2]
    assert chosen.metadata == {"selected_layers": [2]}
    assert only_blocks(example(), [0]).metadata == {}


def test_reading_needs_neither_torch_nor_gguf() -> None:
    """As in the gateway, whose environment has neither."""
    script = """
import sys
for missing in ("torch", "gguf"):
    sys.modules[missing] = None
from pathlib import Path
from triton_models.vectors.formats import read_vector
for name in ("repeng.gguf", "activation_steering.svec", "sarcastic_response_avg_diff.pt"):
    print(len(read_vector(Path(sys.argv[1]) / name).blocks) > 0)
"""
    result = subprocess.run(
        [sys.executable, "-c", script, str(DATA)],
        capture_output=True,
        text=True,
        check=True,
        cwd=DATA.parents[2],
    )
    assert result.stdout.split() == ["True"] * 3

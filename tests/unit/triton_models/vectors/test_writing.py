"""Vector files are written in full, read back bit for bit, and read by other libraries."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.unit.triton_models.vectors.files import bits, example
from triton_models.vectors.formats import (
    VECTOR_SUFFIXES,
    encode_vector,
    read_vector_bytes,
    write_vector,
)
from triton_models.vectors.persona_vector import PersonaVector, VectorFileError

LOSSLESS = (".json", ".safetensors", ".gguf")

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def vectors(draw: st.DrawFn, dense: bool = False) -> PersonaVector:
    """Any vector: any float32 there is, and any blocks, or all from 0 on."""
    hidden = draw(st.integers(1, 9))
    if dense:
        blocks = list(range(draw(st.integers(1, 5))))
    else:
        blocks = draw(st.lists(st.integers(0, 1023), min_size=1, max_size=5, unique=True))
    metadata: dict[str, Any] = draw(
        st.dictionaries(st.text(max_size=9), st.integers() | st.text(max_size=9), max_size=3)
    )
    for key in ("selected_layers", "selected_layer", "recommended_range"):
        metadata.pop(key, None)
    if draw(st.booleans()):
        metadata["selected_layers"] = [draw(st.sampled_from(blocks))]
    return PersonaVector(
        draw(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(str.strip)),
        draw(st.text(st.characters(codec="utf-8"), max_size=20)),
        {block: draw(arrays(np.float32, hidden, elements=FLOATS)) for block in blocks},
        metadata,
    )


# --- What is written reads back -----------------------------------------------------------------


@pytest.mark.parametrize("suffix", LOSSLESS)
@settings(max_examples=60)
@given(vector=vectors())
def test_everything_reads_back_bit_for_bit(suffix: str, vector: PersonaVector) -> None:
    read = read_vector_bytes(encode_vector(vector, suffix), f"x{suffix}")
    assert bits(read) == bits(vector)
    assert (read.trait_name, read.model_name) == (vector.trait_name, vector.model_name)
    assert read.metadata == vector.metadata


@pytest.mark.parametrize("suffix", [".pt", ".svec"])
@settings(max_examples=40)
@given(vector=vectors(dense=True))
def test_the_numbers_read_back_bit_for_bit_from_formats_that_keep_only_them(
    suffix: str, vector: PersonaVector
) -> None:
    read = read_vector_bytes(encode_vector(vector, suffix), f"dry_wit{suffix}", model_name="m")
    assert bits(read) == bits(vector)
    assert (read.trait_name, read.model_name) == ("dry_wit", "m")


@pytest.mark.parametrize("suffix", VECTOR_SUFFIXES)
def test_the_same_vector_gives_the_same_bytes_and_so_the_same_hash(suffix: str) -> None:
    assert encode_vector(example(), suffix) == encode_vector(example(), suffix)


def test_every_float32_is_written_to_json_in_full() -> None:
    patterns = np.random.default_rng(1).integers(0, 2**32, 20_000, dtype=np.uint32)
    edges = np.array([0x80000000, 0x00000001, 0x007FFFFF, 0x7F7FFFFF, 0x3DCCCCCD], np.uint32)
    values = np.concatenate([edges, patterns]).view(np.float32)
    values = values[np.isfinite(values)]
    vector = PersonaVector("t", "", {0: values})
    content = encode_vector(vector, ".json")
    assert bits(read_vector_bytes(content, "t.json")) == bits(vector)
    assert b"0.1," in content  # and not 0.10000000149011612


def test_a_file_is_written_in_full_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.json"
    write_vector(example(), path)
    before = path.read_bytes()

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_vector(example((0,)), path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["t.json"]


def test_other_libraries_read_what_is_written(tmp_path: Path) -> None:
    vector = example()
    tensors = safetensors.numpy.load(encode_vector(vector, ".safetensors"))
    assert {name: values.tobytes() for name, values in tensors.items()} == {
        f"block.{block}": content for block, content in bits(vector).items()
    }
    path = tmp_path / "x.gguf"
    write_vector(vector, path)
    reader = gguf.GGUFReader(path)
    assert {tensor.name: tensor.data.tobytes() for tensor in reader.tensors} == {
        f"direction.{block}": content for block, content in bits(vector).items()
    }
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert fields["general.architecture"] == "controlvector"
    assert fields["controlvector.model_hint"] == "qwen2"
    assert fields["controlvector.layer_count"] == 3
    rows = torch.load(io.BytesIO(encode_vector(vector, ".pt")), weights_only=True)
    assert rows.shape == (5, 8)
    assert not rows[0].any()
    assert not rows[4].any()
    assert torch.equal(rows[2], torch.from_numpy(vector.blocks[1]))


def test_repeng_reads_what_is_written(tmp_path: Path) -> None:
    repeng = pytest.importorskip("repeng")
    write_vector(example((1, 2)), tmp_path / "x.gguf")
    read = repeng.ControlVector.import_gguf(tmp_path / "x.gguf")
    assert read.model_type == "qwen2"
    assert {layer: np.asarray(v).tobytes() for layer, v in read.directions.items()} == bits(
        example((1, 2))
    )


@pytest.mark.parametrize("blocks", [(1, 2), (0, 2), (5,)])
def test_a_tensor_that_cannot_say_which_blocks_it_lacks_is_not_written(blocks: Any) -> None:
    with pytest.raises(VectorFileError, match="a row for every block from 0 on"):
        encode_vector(example(blocks), ".pt")


@pytest.mark.parametrize("suffix", VECTOR_SUFFIXES)
def test_a_vector_that_could_not_be_read_again_is_not_written(suffix: str) -> None:
    wrong = PersonaVector("t", "m", {0: np.ones(4, np.float32)}, {"selected_layers": [3]})
    with pytest.raises(VectorFileError, match=r"selects layers \[3\]"):
        encode_vector(wrong, suffix)

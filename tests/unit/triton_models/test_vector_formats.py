"""Vector files of every format: what is read from them, what is refused, and what is written."""

from __future__ import annotations

import io
import json
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from tests.conftest import HIDDEN_SIZE
from triton_models.vectors.editing import only_blocks, with_selected
from triton_models.vectors.formats import (
    VECTOR_SUFFIXES,
    Convention,
    encode_vector,
    read_vector,
    read_vector_bytes,
    write_vector,
)
from triton_models.vectors.formats import limits as format_limits
from triton_models.vectors.persona_vector import (
    PersonaVector,
    VectorFileError,
    check_trait_name,
)

DATA = Path(__file__).parents[2] / "data" / "vectors"
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


def bits(vector: PersonaVector) -> dict[int, bytes]:
    assert all(values.dtype == np.float32 for values in vector.blocks.values())
    return {block: values.tobytes() for block, values in vector.blocks.items()}


def example(blocks: Any = (0, 1, 2)) -> PersonaVector:
    random = np.random.default_rng(0)
    return PersonaVector(
        "sarcasm",
        "tiny",
        {block: random.normal(size=8).astype(np.float32) for block in blocks},
        {"selected_layers": [1]} if 1 in blocks else {},
    )


# --- What is written reads back -----------------------------------------------------------------


@pytest.mark.parametrize("suffix", LOSSLESS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(vector=vectors())
def test_everything_reads_back_bit_for_bit(suffix: str, vector: PersonaVector) -> None:
    read = read_vector_bytes(encode_vector(vector, suffix), f"x{suffix}")
    assert bits(read) == bits(vector)
    assert (read.trait_name, read.model_name) == (vector.trait_name, vector.model_name)
    assert read.metadata == vector.metadata


@pytest.mark.parametrize("suffix", [".pt", ".svec"])
@settings(max_examples=40, deadline=None)
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


@pytest.mark.parametrize("name", ["dry.pt", "layer_1_layer_2.pt", "task_layer-10.pt"])
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


# --- Names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sarcasm", "a", "A-1_b.c", "x" * 64, "0"])
def test_plain_names_may_become_files(name: str) -> None:
    assert check_trait_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "a\\b", ".x", "-x", "a b", "ä", "x" * 65, "a\n", "a\0"]
)
def test_names_that_could_leave_the_folder_may_not(name: str) -> None:
    with pytest.raises(VectorFileError, match="cannot name a trait's file"):
        check_trait_name(name)
    with pytest.raises(VectorFileError, match=r"x\.json: .*cannot name a trait's file"):
        read_vector_bytes(encode_vector(example(), ".json"), "x.json", trait_name=name)


def test_a_name_inside_a_file_is_taken_as_it_is_but_not_one_made_of_a_files_name() -> None:
    odd = PersonaVector("trockener Witz ü", "m", example().blocks)
    assert read_vector_bytes(encode_vector(odd, ".json"), "x.json").trait_name == odd.trait_name
    with pytest.raises(VectorFileError, match="or give the trait's name"):
        read_vector_bytes(encode_vector(odd, ".svec"), "a b.svec")


# --- Refusals ------------------------------------------------------------------------------------


def torch_bytes(value: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def gguf_bytes(
    name: bytes = b"direction.1", shape: Any = (4,), kind: int = 0, **changes: Any
) -> bytes:
    """A GGUF file written by hand, so that any part of it can be wrong."""
    header: bytes = b"GGUF" + struct.pack(
        "<IQQ", changes.get("version", 3), changes.get("tensors", 1), changes.get("values", 0)
    )
    header += changes.get("pairs", b"")
    header += struct.pack("<Q", changes.get("name_length", len(name))) + name
    header += struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", n) for n in shape)
    header += struct.pack("<IQ", kind, changes.get("offset", 0))
    header += b"\0" * (-len(header) % 32)
    data: bytes = changes.get("data", np.ones(4, np.float32).tobytes())
    content: bytes = header + data
    return content


def safetensors_bytes(name: str = "block.0", dtype: Any = np.float32, shape: Any = (4,)) -> bytes:
    content: bytes = safetensors.numpy.save({name: np.ones(shape, dtype)})
    return content


def test_the_file_by_hand_is_right_before_it_is_made_wrong() -> None:
    assert read_vector_bytes(gguf_bytes(), "x.gguf").blocks[1].tolist() == [1.0] * 4


NOT_FINITE = np.array([1, np.inf, 1, 1], np.float32)
FLOATS_OF_ARRAY = struct.pack("<Q", 1) + b"k" + struct.pack("<II", 9, 6)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.bin", b"abc", r"unknown vector format '\.bin'"),
        ("x.json", b"", "is empty"),
        ("x.json", b"\xff\xfe{}", "not valid JSON"),
        ("x.json", b"[" * 50_000, "not valid JSON"),
        ("x.json", b'{"a":' * 100_000, "not valid JSON"),
        ("x.json", b'{"directions": {"1": [1]}}', r"suffix \.svec"),
        ("x.json", b'{"persona_vectors": {"1": [1]}}', "has no"),
        ("x.json", b'{"trait_name":"t","vectors":{"3":[1],"3":[2]}}', "key '3' twice"),
        ("x.json", b'{"trait_name":"t","vectors":{"99999999999":[2]}}', "not a decoder block"),
        ("x.json", b'{"trait_name":"t","vectors":{"2000":[2]}}', "not a decoder block"),
        ("x.json", b'{"trait_name":"t","vectors":{"1":[1e39]}}', "not finite"),
        ("x.json", b'{"trait_name":"t","vectors":{"1":[[1]]}}', "not a number"),
        ("x.json", b'{"trait_name":"\\ud800","vectors":{"1":[1]}}', "is not text"),
        ("x.svec", b"{}", "directions"),
        ("x.svec", b'{"directions": {"1": [NaN]}}', "not finite"),
        ("x.svec", b'{"directions": {"1": [1], "2": [1, 2]}}', "differ in length"),
        ("x.safetensors", b"abc", "is not a safetensors file"),
        ("x.safetensors", b"\xff" * 64, "is not a safetensors file"),
        ("x.safetensors", safetensors_bytes()[:-1], "is not a safetensors file"),
        ("x.safetensors", safetensors_bytes("layer.0"), r"has a tensor 'layer\.0'"),
        ("x.safetensors", safetensors_bytes("block.-1"), "not a decoder block"),
        ("x.safetensors", safetensors_bytes(dtype=np.int32), "has the type I32: use F32"),
        ("x.safetensors", safetensors_bytes(shape=(2, 2)), "one dimension"),
        ("x.safetensors", safetensors_bytes(shape=(0,)), "has 0 elements"),
        ("x.safetensors", safetensors.numpy.save({"block.0": NOT_FINITE}), "not finite"),
        ("x.safetensors", safetensors.numpy.save({}), "holds no vectors"),
        ("x.gguf", b"GGML" + b"\0" * 60, "does not begin with GGUF"),
        ("x.gguf", gguf_bytes(version=1), "of version 1"),
        ("x.gguf", gguf_bytes(version=0x03000000), "little-endian"),
        ("x.gguf", gguf_bytes()[:-1], "is truncated"),
        ("x.gguf", gguf_bytes()[:40], "is truncated"),
        ("x.gguf", gguf_bytes(tensors=2**60), "claims 1152921504606846976 tensors"),
        ("x.gguf", gguf_bytes(values=2**60), "claims 1152921504606846976 values"),
        ("x.gguf", gguf_bytes(name_length=2**40), "has a string of 1099511627776 bytes"),
        ("x.gguf", gguf_bytes(shape=(2**40,)), "is truncated"),
        ("x.gguf", gguf_bytes(shape=(2**63, 2**63)), "is truncated"),
        ("x.gguf", gguf_bytes(shape=(0,)), "has 0 elements"),
        ("x.gguf", gguf_bytes(shape=(2, 2)), "one dimension"),
        ("x.gguf", gguf_bytes(shape=(1,) * 9), "9 dimensions"),
        ("x.gguf", gguf_bytes(offset=2**62), "is truncated"),
        ("x.gguf", gguf_bytes(kind=8), "type 8: use F32"),
        ("x.gguf", gguf_bytes(name=b"blk.0.attn"), "has a tensor 'blk.0.attn'"),
        ("x.gguf", gguf_bytes(name=b"direction.-1"), "not a decoder block"),
        ("x.gguf", gguf_bytes(name=b"direction.\xff"), "not UTF-8"),
        ("x.gguf", gguf_bytes(tensors=0), "holds no vectors"),
        ("x.gguf", gguf_bytes(data=NOT_FINITE.tobytes()), "not finite"),
        (
            "x.gguf",
            gguf_bytes(values=1, pairs=FLOATS_OF_ARRAY + struct.pack("<Q", 2**62)),
            "is truncated",
        ),
        ("x.pt", pickle.dumps(np.ones(4)), "a bare pickle"),
        ("x.pt", torch_bytes(torch.ones(4), _use_new_zipfile_serialization=False), "bare pickle"),
        ("x.pt", torch_bytes({"a": torch.ones(4)})[:-9], "not an intact file of torch.save"),
        ("x.pt", torch_bytes([torch.ones(4), torch.ones(4)]), "exactly one tensor"),
        ("x.pt", torch_bytes([torch.ones(4)]), "holds a list"),
        ("x.pt", torch_bytes(np.ones(4)), "save a"),
        ("x.pt", torch_bytes(torch.nn.Linear(1, 1, bias=False)), "not a plain tensor"),
        ("x.pt", torch_bytes(torch.ones(4, 4, dtype=torch.int64)), "not a plain tensor"),
        ("x.pt", torch_bytes(torch.ones(4, 4, 4)), r"shape \[4, 4, 4\]"),
        ("x.pt", torch_bytes(torch.ones(2, 4)), "has 2 rows"),
        ("x.pt", torch_bytes(torch.ones(1, 1).expand(1000, 1000)), "larger than the file"),
        ("x.pt", torch_bytes(torch.ones(1, 1).expand(2000, 10)), "has 2000 rows"),
        ("x.pt", torch_bytes(torch.ones(1, 1).expand(4, 2**40)), "elements"),
        ("x.pt", torch_bytes(torch.full((4, 4), float("nan"))), "not finite"),
        ("x.pt", torch_bytes(torch.full((4, 4), 1e300, dtype=torch.float64)), "not finite"),
    ],
)
def test_what_is_no_vector_is_refused_by_name_and_reason(
    name: str, content: bytes, message: str
) -> None:
    with pytest.raises(VectorFileError, match=f"^{name}: .*{message}"):
        read_vector_bytes(content, name)


class _Runs:
    def __reduce__(self) -> Any:
        return (print, ("a pickle ran code",))


def with_pickle(pickled: bytes, data: bytes = b"\0" * 16, compressed: bool = False) -> bytes:
    buffer = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        archive.writestr("x/data.pkl", pickled)
        archive.writestr("x/data/0", data)
    return buffer.getvalue()


def test_a_pickle_never_runs_and_never_allocates(capsys: pytest.CaptureFixture[str]) -> None:
    huge = pickle.dumps((bytearray, 10**12), protocol=2)
    call = b"\x80\x02c__builtin__\nbytearray\n\x8a\x06\x00\x10\xa5\xd4\xe8\x00\x85R."
    for pickled in (
        pickle.dumps(_Runs(), protocol=2),
        pickle.dumps(_Runs(), protocol=4),
        huge,
        call,
        b"",
    ):
        with pytest.raises(VectorFileError):
            read_vector_bytes(with_pickle(pickled), "x.pt")
    assert capsys.readouterr().out == ""


def test_a_storage_longer_than_its_data_is_never_read() -> None:
    good = torch_bytes(torch.ones(100))
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith("data.pkl"))
        pickled = archive.read(name)
    with pytest.raises(VectorFileError):
        read_vector_bytes(with_pickle(pickled, data=b"\0" * 16), "x_layer_1.pt")


def test_a_zip_bomb_is_not_unpacked() -> None:
    content = with_pickle(b"\x80\x02.", data=b"\0" * 2**24, compressed=True)
    with pytest.raises(VectorFileError, match="compressed"):
        read_vector_bytes(content, "x.pt")


def test_a_file_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:
        file.truncate(format_limits.MAX_FILE_BYTES + 1)
    with pytest.raises(VectorFileError, match=r"x\.safetensors: has 536870913 bytes"):
        read_vector(path)


def test_what_is_no_file_does_not_hang(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "x.json")
    for name, message in (("x.json", "is not a file"), ("y.json", "No such file")):
        with pytest.raises(VectorFileError, match=f"{name}: .*{message}"):
            read_vector(tmp_path / name)


def test_an_unknown_convention_is_refused() -> None:
    with pytest.raises(VectorFileError, match="use block, hidden-state"):
        read_vector(DATA / "repeng.gguf", convention="rows")
    with pytest.raises(VectorFileError, match="counts decoder blocks"):
        read_vector_bytes(encode_vector(example(), ".json"), "x.json", convention="hidden-state")


@pytest.mark.parametrize("suffix", VECTOR_SUFFIXES)
def test_a_vector_that_could_not_be_read_again_is_not_written(suffix: str) -> None:
    wrong = PersonaVector("t", "m", {0: np.ones(4, np.float32)}, {"selected_layers": [3]})
    with pytest.raises(VectorFileError, match=r"selects layers \[3\]"):
        encode_vector(wrong, suffix)


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
        cwd=DATA.parents[3],
    )
    assert result.stdout.split() == ["True"] * 3

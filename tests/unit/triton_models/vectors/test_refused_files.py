"""Files that are no vector are refused by reason, and run, allocate and hang nothing."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch

from tests.unit.triton_models.vectors.files import gguf_bytes, safetensors_bytes, torch_bytes
from triton_models.vectors.formats import limits as format_limits
from triton_models.vectors.formats import read_vector, read_vector_bytes
from triton_models.vectors.persona_vector import VectorFileError


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
        ("x.pt", pickle.dumps([1.0]), "a bare pickle"),
        ("x.pt", torch_bytes(torch.ones(4), _use_new_zipfile_serialization=False), "bare pickle"),
        ("x.pt", torch_bytes({"a": torch.ones(4)})[:-9], "not an intact file of torch.save"),
        ("x.pt", torch_bytes([torch.ones(4), torch.ones(4)]), "exactly one tensor"),
        ("x.pt", torch_bytes([torch.ones(4)]), "holds a list"),
        ("x.pt", torch_bytes(np.ones(4)), "holds a NumPy array"),
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

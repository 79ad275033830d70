"""Damaged and arbitrary vector files: either a vector with sound numbers, or a plain refusal."""

from __future__ import annotations

import contextlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.triton_models.vectors.files import DATA
from triton_models.vectors.formats import VECTOR_SUFFIXES, encode_vector, read_vector_bytes
from triton_models.vectors.persona_vector import PersonaVector, VectorFileError

pytestmark = pytest.mark.slow  # damages files a thousand times

VECTOR = PersonaVector(
    "dry",
    "tiny",
    {block: np.random.default_rng(block).normal(size=4).astype(np.float32) for block in range(3)},
    {"selected_layers": [1]},
)
VALID = {suffix: encode_vector(VECTOR, suffix) for suffix in VECTOR_SUFFIXES}
MADE_ELSEWHERE = sorted(path for path in DATA.iterdir() if path.suffix in (".gguf", ".pt", ".svec"))

fuzz = settings(max_examples=150, suppress_health_check=list(HealthCheck), derandomize=True)


def check(content: bytes, name: str) -> None:
    with contextlib.suppress(VectorFileError):
        vector = read_vector_bytes(content, name)
        assert vector.blocks
        for values in vector.blocks.values():
            assert values.dtype == np.float32
            assert values.shape == (vector.hidden_size,)
            assert np.isfinite(values).all()
        assert set(vector.selected_blocks) <= set(vector.blocks)


@pytest.mark.parametrize("suffix", VECTOR_SUFFIXES)
@fuzz
@given(data=st.data())
def test_any_bytes(suffix: str, data: st.DataObject) -> None:
    begin = data.draw(st.sampled_from([b"", VALID[suffix][:4], VALID[suffix][:24]]))
    check(begin + data.draw(st.binary(max_size=200)), f"x{suffix}")


@pytest.mark.parametrize("suffix", VECTOR_SUFFIXES)
@fuzz
@given(data=st.data())
def test_truncated_files(suffix: str, data: st.DataObject) -> None:
    content = VALID[suffix]
    check(content[: data.draw(st.integers(0, len(content)))], f"x{suffix}")


@pytest.mark.parametrize("suffix", VECTOR_SUFFIXES)
@fuzz
@given(data=st.data())
def test_files_with_bits_flipped(suffix: str, data: st.DataObject) -> None:
    content = bytearray(VALID[suffix])
    places = st.integers(0, 8 * len(content) - 1)
    for place in data.draw(st.lists(places, min_size=1, max_size=4)):
        content[place // 8] ^= 1 << place % 8
    check(bytes(content), f"x{suffix}")


@pytest.mark.parametrize("suffix", VECTOR_SUFFIXES)
@fuzz
@given(data=st.data())
def test_files_with_a_piece_replaced(suffix: str, data: st.DataObject) -> None:
    content = VALID[suffix]
    start = data.draw(st.integers(0, len(content)))
    piece = data.draw(st.sampled_from([b"\0", b"\xff"])) * data.draw(st.integers(1, 16))
    end = start + data.draw(st.sampled_from([0, len(piece)]))
    check(content[:start] + piece + content[end:], f"x{suffix}")


@fuzz
@given(data=st.data())
def test_tensors_whose_pickle_is_damaged_in_a_zip_that_is_whole(data: st.DataObject) -> None:
    """The zip's checksums find any other damage first; who means harm gets them right."""
    with zipfile.ZipFile(io.BytesIO(VALID[".pt"])) as archive:
        parts = {name: bytearray(archive.read(name)) for name in archive.namelist()}
    (pickled,) = (part for name, part in parts.items() if name.endswith("data.pkl"))
    places = st.integers(0, len(pickled) - 1)
    for place in data.draw(st.lists(places, min_size=1, max_size=3)):
        pickled[place] = data.draw(st.integers(0, 255))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, bytes(part))
    check(buffer.getvalue(), "x.pt")


@pytest.mark.parametrize("path", MADE_ELSEWHERE, ids=lambda path: path.name)
def test_every_byte_of_the_start_of_a_real_file(path: Path) -> None:
    """The numbers that say how large and how many are there."""
    content = path.read_bytes()
    for place in range(min(160, len(content))):
        for value in (0x00, 0x7F, 0xFF):
            changed = content[:place] + bytes([value]) + content[place + 1 :]
            check(changed, path.name)

"""What a hostile vector file costs: time and memory of the order of its size."""

from __future__ import annotations

import json
import struct
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from tests.cpu_time import cpu_seconds
from triton_models.vectors.formats import read_vector_bytes
from triton_models.vectors.formats.json_text import parse_json
from triton_models.vectors.formats.limits import checked_vector
from triton_models.vectors.persona_vector import VectorFileError

pytestmark = pytest.mark.slow  # reads megabytes

HIDDEN = 65_536


def gguf_of(offsets: list[int]) -> bytes:
    """A GGUF file with room for two tensors, whose tensors begin where a test wants it."""
    content = struct.pack("<4sIQQ", b"GGUF", 3, len(offsets), 0)
    for number, offset in enumerate(offsets):
        name = f"direction.{number}".encode()
        content += struct.pack("<Q", len(name)) + name + struct.pack("<IQIQ", 1, HIDDEN, 0, offset)
    content += b"\0" * (-len(content) % 32)
    return content + b"\0" * (2 * HIDDEN * 4)


def peak_of(work: Callable[[], object]) -> int:
    """Returns the most bytes that work held at once."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "offsets",
    [[0] * 1000, [4 * number for number in range(1000)], [0, 4 * HIDDEN - 4], [4, 0]],
    ids=["the same", "staggered", "by one number", "in another order"],
)
def test_tensors_that_share_data_are_refused_before_they_are_copied(offsets: list[int]) -> None:
    content = gguf_of(offsets)

    def read() -> None:
        with pytest.raises(VectorFileError, match="shares its data with another tensor"):
            read_vector_bytes(content, "x.gguf")

    assert peak_of(read) < 4 * len(content)


@pytest.mark.parametrize("offsets", [[0, 4 * HIDDEN], [4 * HIDDEN, 0]])
def test_tensors_side_by_side_are_read_in_any_order(offsets: list[int]) -> None:
    content = gguf_of(offsets)
    assert len(read_vector_bytes(content, "x.gguf").blocks) == 2
    assert peak_of(lambda: read_vector_bytes(content, "x.gguf")) < 4 * len(content)


def twice_in_one_object(number: int) -> tuple[str, bytes]:
    keys = ",".join(f'"{index}":0' for index in range(number))
    return "x.json", f'{{{keys},"{number - 1}":0}}'.encode()


def many_blocks(number: int) -> tuple[str, bytes]:
    keys = ",".join(f'"{index}":[1]' for index in range(number))
    return "x.svec", f'{{"directions":{{{keys}}}}}'.encode()


def many_selected(number: int) -> tuple[str, bytes]:
    selected = {"selected_layers": list(range(number))}
    document = {"trait_name": "t", "vectors": {"0": [1]}, "metadata": selected}
    return "x.json", json.dumps(document).encode()


def many_header_keys(number: int) -> tuple[str, bytes]:
    header = json.dumps({"__metadata__": {str(index): "" for index in range(number)}}).encode()
    return "x.safetensors", struct.pack("<Q", len(header)) + header


def many_strings(number: int) -> tuple[str, bytes]:
    content = struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + struct.pack("<Q", 1) + b"k"
    return "x.gguf", content + struct.pack("<IIQ", 9, 8, number) + struct.pack("<Q", 0) * number


def cost(name: str, content: bytes) -> float:
    """Returns what it takes to refuse a file, at best."""

    def refuse() -> None:
        with pytest.raises(VectorFileError) as refused:
            read_vector_bytes(content, name)
        assert len(str(refused.value)) < 2000

    return cpu_seconds(refuse)


@pytest.mark.parametrize(
    "make", [twice_in_one_object, many_blocks, many_selected, many_header_keys, many_strings]
)
def test_a_larger_file_takes_longer_in_proportion(make: Callable[[int], tuple[str, bytes]]) -> None:
    # 32 times as long, and up to 100 times once it is larger than a cache; a quadratic reader takes
    # 1,024 times as long. What else the machine does is to decide nothing.
    assert cost(*make(32_000)) < 300 * cost(*make(1_000))


def test_metadata_that_every_list_of_traits_would_have_to_tell_is_refused() -> None:
    document = {"trait_name": "t", "vectors": {"0": [1]}, "metadata": {"note": "x" * 2**21}}
    with pytest.raises(VectorFileError, match=r"its metadata has more than .* 1048576 bytes"):
        read_vector_bytes(json.dumps(document).encode(), "x.json")


def metadata_of(value: str) -> bytes:
    return f'{{"trait_name":"t","vectors":{{"0":[1]}},"metadata":{{"x":{value}}}}}'.encode()


@pytest.mark.parametrize(
    "value", ["[]", "{}", '""', r'"\\\\"', "null", "true", "false", "NaN", "Infinity"]
)
def test_what_is_parsed_without_a_turn_for_other_threads_is_bounded(value: str) -> None:
    content = metadata_of(f"[{','.join([value] * (2**23 // len(value)))}]")
    at_once = cpu_seconds(lambda: json.loads(content), times=1)
    with pytest.raises(VectorFileError, match="more than 100000 lists, objects, strings or words"):
        read_vector_bytes(content, "x.json")
    assert 2 * cost("x.json", content) < at_once


@pytest.mark.parametrize("text", ["x", r"\\\\", r"\"", r"\u0041"])
def test_long_strings_are_refused_before_they_are_parsed(text: str) -> None:
    content = metadata_of(f'"{text * (2**24 // len(text))}"')
    with pytest.raises(VectorFileError, match="more than 8388608 characters in strings"):
        read_vector_bytes(content, "x.json")


def test_metadata_of_numbers_is_refused_without_its_json() -> None:
    content = metadata_of(f"[{','.join(['0.5'] * 2_000_000)}]")
    metadata = json.loads(content)["metadata"]

    def check() -> None:
        with pytest.raises(VectorFileError, match="its metadata has more than"):
            checked_vector("t", "", {0: np.ones(1, np.float32)}, metadata)

    assert turns_during(check) > 0
    assert 2 * cpu_seconds(check) < cpu_seconds(lambda: json.dumps(metadata), times=1)


def turns_during(work: Callable[[], object]) -> int:
    """Returns how often another thread has had a turn while work was done."""
    turns = 0
    is_done = threading.Event()

    def count() -> None:
        nonlocal turns
        while not is_done.is_set():
            turns += 1
            time.sleep(0)  # to go on, it needs another turn

    thread = threading.Thread(target=count)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        thread.start()
        before = turns
        work()
        return turns - before
    finally:
        sys.setswitchinterval(interval)
        is_done.set()
        thread.join()


@pytest.mark.parametrize("number", ["0.123456789", "123456789"])
def test_other_threads_run_while_the_numbers_of_a_file_are_parsed(number: str) -> None:
    vectors = ",".join(f'"{block}":[{",".join([number] * 8192)}]' for block in range(40))
    content = f'{{"trait_name":"t","vectors":{{{vectors}}}}}'.encode()
    at_once = turns_during(lambda: json.loads(content))
    assert turns_during(lambda: parse_json(content)) > 10 * (at_once + 1)

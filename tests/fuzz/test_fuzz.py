"""A little of the fuzzing, and all that it has found, wherever the tests run."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.soak.bad_input import overlapping_gguf
from tests.cpu_time import cpu_seconds
from tests.fuzz.targets import MAX_LENGTH, TARGETS, Target

few = settings(max_examples=60, suppress_health_check=list(HealthCheck), derandomize=True)

all_targets = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)


@all_targets
def test_what_was_found_before(target: Target) -> None:
    for content in (*target.seeds, *target.kept()):
        target.run(content)


@all_targets
@few
@given(data=st.data())
def test_damaged_inputs(target: Target, data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from([*target.seeds, *target.kept(), b""])))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content)))
        removed = data.draw(st.integers(0, 8))
        content[place : place + removed] = data.draw(st.binary(max_size=8) | PIECES)
    target.run(bytes(content[:MAX_LENGTH]))


PIECES = st.sampled_from(
    [
        b'"', b"[", b"{", b"}", b"]", b",", b":", b"null", b"true", b"-1", b"1e999", b"NaN",
        b"9" * 5000, b"\\ud800", b"\xff", b"\0", b"\n\n", b"data: ", b"[" * 990, b'{"a":' * 990,
    ]
)  # fmt: skip
"""What JSON, events and files of tensors trip over."""

GROWING: dict[str, Callable[[int], bytes]] = {
    "events": lambda size: b"\x10data: " + b"x" * (4 * size),
    "events, many": lambda size: b"\x10" + b"data: 1\n" * (size // 8),
    "answers": lambda size: b'{"error": "' + b"x" * size + b'"}',
    "definition": lambda size: b'{"trait_name": "' + b"x" * size + b'"}',
    "keys, one object": lambda size: _object(size),
    "policy": lambda size: _object(size),
    "json_in_tensors": lambda size: b"[" + b'{"role": 1},' * (size // 12) + b"0]",
    "json_in_tensors, one object": lambda size: _object(size),
    "judges_reply": lambda size: b"1" * size + b"." * 3,
    "judges_reply, spaces": lambda size: b"1" + b" *" * (size // 2) + b"/",
    "vector.json": lambda size: _object(size),
    "vector.json, twice": lambda size: _object(size)[:-1] + b',"z": 0,"z": 0}',
    # The bytes that they share are half of the file.
    "vector.gguf, overlapping": lambda size: overlapping_gguf(size // 128, elements=size // 8),
}
"""Inputs of any size that are likely to take more than their share: a target's name, and perhaps
more, says whose."""


def _object(size: int) -> bytes:
    return b"{" + b",".join(b'"%d": 0' % number for number in range(size // 10)) + b"}"


SIZE, TIMES = 10_000, 32
TIME_ALLOWED = 300
"""32 times as much takes 32 times as long, up to 100 times once it is larger than a cache, and
1,024 times if it is quadratic."""

MEMORY_ALLOWED = 150
"""Bytes held at most for each byte of input: a short key and its value in an object take ninety."""


@pytest.mark.parametrize("name", GROWING)
def test_time_grows_like_the_input(name: str) -> None:
    small, large = (GROWING[name](size) for size in (SIZE, TIMES * SIZE))
    target = TARGETS[name.partition(",")[0]]
    least = max(cpu_seconds(lambda: target.run(small)), 1e-4)
    assert cpu_seconds(lambda: target.run(large)) < TIME_ALLOWED * least


@pytest.mark.parametrize("name", GROWING)
def test_memory_is_bounded_by_the_input(name: str) -> None:
    content = GROWING[name](TIMES * SIZE)
    target = TARGETS[name.partition(",")[0]]
    target.run(content)
    tracemalloc.start()
    try:
        target.run(content)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < MEMORY_ALLOWED * len(content) + 2**20

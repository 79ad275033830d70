"""What kernels take that are compiled for real cards, which needs none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("triton")

from triton_models.kernels.block_sizes import ATTENTION, MAX_FEW_ROWS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each kernel takes on each card that it was compiled for."""
    result = subprocess.run(
        [sys.executable, "-m", "tests.unit.triton_models.kernels.kernel_compiler"],
        env={
            **os.environ,
            "TRITON_INTERPRET": "0",
            "TRITON_CACHE_DIR": str(tmp_path_factory.mktemp("kernels")),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_every_kernel_compiles_for_every_card(compiled: list[dict[str, Any]]) -> None:
    by_card = {
        capability: {each["kernel"] for each in compiled if each["capability"] == capability}
        for capability in (80, 90, 100)
    }
    names = {
        "_attend",
        "_join",
        "_rotate_and_store",
        "_add_and_normalize",
        "_window_factors",
        "_gate",
        "_multiply",
        "_gate_up",
        "draw_kernel",
        "penalize_kernel",
    }
    assert set(map(frozenset, by_card.values())) == {frozenset(names)}


def test_no_kernel_spills_or_takes_more_shared_memory_than_a_card_has(
    compiled: list[dict[str, Any]],
) -> None:
    assert [each for each in compiled if each["spilled_bytes"]] == []
    # The weights of few rows are multiplied where they are loaded: only the inputs are moved.
    products = [each for each in compiled if each["kernel"] in ("_multiply", "_gate_up")]
    assert max(each["moved_in_loops"] for each in products) <= MAX_FEW_ROWS * 1024
    # What a program may have on compute capability 8.6 and 8.9, the least of those meant.
    assert [each for each in compiled if each["shared"] > 99 * 1024] == []


def test_four_programs_of_attention_fit_a_multiprocessor(compiled: list[dict[str, Any]]) -> None:
    """With fewer, the keys and values being loaded at a time do not fill the memory's time."""
    attending = [each for each in compiled if each["kernel"] == "_attend"]
    threads = 4 * 32 * ATTENTION.num_warps
    assert max(each["registers"] for each in attending) * threads <= 64 * 1024
    # What a multiprocessor of compute capability 8.0 has; those of 9.0 have more.
    assert max(each["shared"] for each in attending) * 4 <= 163 * 1024

"""A model that two processes share, inside the real Triton."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tritonclient.utils import InferenceServerException

from launcher.loopback import loopback_settings
from launcher.stack import Stack
from tests.conftest import make_model, make_vectors
from tests.e2e.conftest import ONE_THREAD, START_SECONDS
from tests.e2e.triton_call import Call
from tests.e2e.waiting import eventually
from tests.integration.reference import agree, generate_alone

PROMPT = list(range(40, 60))
NUM_TOKENS = 24
INPUTS: dict[str, Any] = {
    "input_ids": PROMPT,
    "trait": ["flattery"],
    "scalar": [2.0],
    "temperature": 0.0,
    "max_tokens": NUM_TOKENS,
}


@pytest.fixture
def stack(tmp_path: Path, tiny_model_folder: Path, tiny_vectors_folder: Path) -> Iterator[Stack]:
    settings = loopback_settings(tmp_path / "run", START_SECONDS)
    environment = {
        **ONE_THREAD,
        "DEVICE": "cpu",
        "TENSOR_PARALLEL": "2",
        "MODEL_NAME": str(tiny_model_folder),
        "VECTORS_DIR": str(tiny_vectors_folder),
    }
    with Stack(settings, environment, say=lambda _: None) as stack:
        yield stack


def test_a_shared_model_answers_like_a_whole_one_and_comes_back_when_a_part_dies(
    stack: Stack,
) -> None:
    model = make_model()
    deltas = {1: 2.0 * make_vectors()["flattery"].blocks[1]}
    expected = generate_alone(model, PROMPT, NUM_TOKENS, deltas)

    def answers() -> bool:
        try:
            (response,) = Call(stack.settings.grpc_address, "steered_qwen", INPUTS).responses()
        except InferenceServerException:
            return False
        got = [int(token) for token in response["output_ids"]]
        return agree(model, PROMPT, expected, got, deltas)

    assert answers()
    (worker,) = shard_workers()
    os.kill(worker, signal.SIGKILL)
    assert eventually(lambda: shard_workers() not in ([], [worker]), START_SECONDS)
    assert eventually(answers, START_SECONDS)


def shard_workers() -> list[int]:
    """Returns the processes that have a part of a model without leading."""
    found = subprocess.run(
        ["pgrep", "-f", "triton_models.engine.shard_worker$"], capture_output=True, text=True
    )
    return [int(pid) for pid in found.stdout.split()]

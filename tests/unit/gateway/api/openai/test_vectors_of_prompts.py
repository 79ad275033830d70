"""Vectors that a request brings along for several answers are read once, and sent with each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gateway.api.openai.ensemble_requests import bringing_vectors, completion_requests
from gateway.api.openai.requests import CompletionRequest
from gateway.ensemble_request import EnsembleRequest
from gateway.errors import UnprocessableError
from gateway.settings import Settings
from triton_models.contract.request_vectors import encoded_vectors

NUMBERS = np.ones(257, np.float32)


async def requests_for(*prompts: Any, **limits: Any) -> list[EnsembleRequest]:
    vectors = encoded_vectors({"mine": {1: NUMBERS}})
    steering = {"traits": [{"name": "mine", "scalar": 1}], "vectors": vectors}
    fields = {"model": "persona", "prompt": [*prompts], "n": 2, "seed": 5, "steering": steering}
    body, settings = CompletionRequest.model_validate(fields), Settings(**limits)
    return await bringing_vectors(completion_requests(body, [], settings), body, settings)


async def test_every_prompt_has_them_and_they_are_the_same_object() -> None:
    requests = await requests_for("a", [1, 2], "c")
    assert [each.values["text_input"] for each in requests[::2]] == [["a"], [""], ["c"]]
    assert [each.values["seed"] for each in requests] == [[5], [6]] * 3
    assert len({id(each.values["vectors"]) for each in requests}) == 1
    assert len({id(each.parsed.vectors) for each in requests}) == 1
    assert requests[-1].vector_digests.keys() == {"mine"}


async def test_too_large_ones_are_refused() -> None:
    with pytest.raises(UnprocessableError, match="vectors have 1028 bytes"):
        await requests_for("a", "b", max_request_vectors_bytes=1024)

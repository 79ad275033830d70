"""What overflowed at a token is left out, since JSON has no infinity."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from tests.tiny_model import make_tokenizer, served
from tests.unit.triton_models.vectors.calibrations import BLOCK
from triton_models.adapters.chunk_tensors import chunk_values
from triton_models.engine.sequence import TokenChunk
from triton_models.steering.readout import MonitoredDirection, TokenReadout
from triton_models.text.token_bytes import TokenBytes

VECTOR = np.ones(2, np.float32)
DIRECTIONS = (
    MonitoredDirection("sarcasm", 1, VECTOR, BLOCK),
    MonitoredDirection("sarcasm", 3, VECTOR),
)


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_token_says_what_is_finite(number: float, *, before: bool) -> None:
    pair = (number, 1.0) if before else (1.0, number)
    read = TokenReadout(DIRECTIONS, (pair[0], 2.0), (pair[1], 4.0))
    values = chunk_values(
        TokenChunk(token_ids=(5,), token_readouts=(read,)), TokenBytes(served(make_tokenizer()))
    )
    (token,) = json.loads(values["report"])["token_readouts"]
    assert token["readouts"] == {"sarcasm": {"3": {"before": 2.0, "after": 4.0}}}

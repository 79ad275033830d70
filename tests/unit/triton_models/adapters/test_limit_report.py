"""What `report` says of limits and of what a policy enforces, from the engine to a client."""

from __future__ import annotations

import json

import numpy as np

from tests.tiny_model import make_tokenizer, served
from triton_models.adapters.chunk_tensors import chunk_values
from triton_models.contract.steering import Enforced, Limit, Operation
from triton_models.engine.sequence import FinishReason, TokenChunk
from triton_models.grpc_messages import TritonChunk
from triton_models.steering.limits import LimitReached, ResolvedLimit
from triton_models.text.token_bytes import TokenBytes

TOKEN_BYTES = TokenBytes(served(make_tokenizer()))

LIMIT = Limit("sarcasm", 99.0, True, "percentile", over=3)


def test_a_last_chunk_says_which_limits_were_reached_and_where() -> None:
    resolved = ResolvedLimit(LIMIT, np.zeros(2, np.float32), 15, 4.25, True)
    last = TokenChunk(
        finish_reason=FinishReason.TRAIT_LIMIT, limits_reached=(LimitReached(resolved, 7, 4.5),)
    )
    values = chunk_values(last, TOKEN_BYTES)
    assert values["finish_reason"] == "trait_limit"
    reached = {
        "trait": "sarcasm",
        "above": 99.0,
        "unit": "percentile",
        "over": 3,
        "action": "stop",
        "layer": 15,
        "enforced": True,
        "bound": 4.25,
        "projection": 4.5,
        "token": 7,
    }
    report = json.loads(values["report"])
    assert report == {"limits_reached": [reached]}
    chunk = TritonChunk(report=report)
    assert (list(chunk.limits_reached), chunk.enforced) == ([reached], None)


def test_a_last_chunk_says_what_was_enforced() -> None:
    enforced = Enforced((Operation("sarcasm", "ablate"),))
    values = chunk_values(
        TokenChunk(finish_reason=FinishReason.STOP, enforced=enforced), TOKEN_BYTES
    )
    report = json.loads(values["report"])
    operations = [{"trait": "sarcasm", "kind": "ablate", "strength": 1.0}]
    assert report == {"enforced": {"operations": operations, "limits": []}}
    assert TritonChunk(report=report).enforced == report["enforced"]
    assert chunk_values(TokenChunk(finish_reason=FinishReason.STOP), TOKEN_BYTES)["report"] == ""

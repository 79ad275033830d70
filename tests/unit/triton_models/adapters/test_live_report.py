"""What `report` says of each token and turn, from the engine's chunk to a client's."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from tests.tiny_model import make_tokenizer, served
from tests.unit.triton_models.vectors.calibrations import BLOCK
from triton_models.adapters.chunk_tensors import chunk_values
from triton_models.engine.sequence import TokenChunk
from triton_models.grpc_messages import TritonChunk
from triton_models.steering.readout import MonitoredDirection, TokenReadout, TurnReadout
from triton_models.text.token_bytes import TokenBytes

TOKENIZER = make_tokenizer()
VECTOR = np.ones(2, np.float32)
DIRECTIONS = (
    MonitoredDirection("sarcasm", 1, VECTOR, BLOCK),
    MonitoredDirection("sarcasm", 3, VECTOR),
    MonitoredDirection("flattery", 1, VECTOR),
)


def report(chunk: TokenChunk) -> dict[str, Any]:
    values = chunk_values(chunk, TokenBytes(served(TOKENIZER)))
    return dict(json.loads(values["report"]))


def test_each_token_has_its_text_and_what_was_read_before_and_after_steering() -> None:
    ids = tuple(TOKENIZER("aé", add_special_tokens=False)["input_ids"])
    read = TokenReadout(DIRECTIONS, (1.0, 1.23456789, -2.0), (5.0, 0.5, -2.0))
    nothing = TokenReadout(DIRECTIONS)
    said = report(TokenChunk(token_ids=ids, token_readouts=(read, nothing, nothing)))
    of_sarcasm = {
        "1": {"before": 1.0, "after": 5.0, "percentile": 50.0},
        "3": {"before": 1.23457, "after": 0.5},
    }
    none: dict[str, Any] = {"sarcasm": {}, "flattery": {}}
    assert said == {
        "token_readouts": [
            {
                "token": "a",
                "readouts": {
                    "sarcasm": of_sarcasm,
                    "flattery": {"1": {"before": -2.0, "after": -2.0}},
                },
            },
            {"token": "\ufffd", "readouts": none},
            {"token": "\ufffd", "readouts": none},
        ]
    }


def test_each_turn_has_its_role_and_its_means() -> None:
    turns = (TurnReadout("user", {"sarcasm": {1: 0.25}}), TurnReadout("tool", {"sarcasm": {}}))
    assert report(TokenChunk(turn_readouts=turns)) == {
        "turn_readouts": [
            {"role": "user", "readouts": {"sarcasm": {"1": 0.25}}},
            {"role": "tool", "readouts": {"sarcasm": {}}},
        ]
    }


def test_pieces_that_are_joined_keep_every_token_once() -> None:
    tokens: list[dict[str, Any]] = [{"token_readouts": [n]} for n in range(3)]
    reports = [{"turn_readouts": ["t"]}, *tokens, {"condition": {"tokens": 2, "met": 1}}]
    joined = TritonChunk()
    for each in reports:
        joined = joined.followed_by(TritonChunk(report=each))
    assert (joined.turn_readouts, joined.token_readouts) == (["t"], [0, 1, 2])
    assert joined.condition == {"tokens": 2, "met": 1}
    assert all(TritonChunk(report=each).says_something for each in reports[:-1])
    assert not TritonChunk(report=reports[-1]).says_something

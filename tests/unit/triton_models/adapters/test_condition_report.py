"""What `report` says of a steering's condition, from the engine's chunk to a client's."""

from __future__ import annotations

import json

from tests.tiny_model import make_tokenizer, served
from triton_models.adapters.chunk_tensors import chunk_values
from triton_models.engine.sequence import ConditionTally, FinishReason, TokenChunk
from triton_models.grpc_messages import TritonChunk
from triton_models.text.token_bytes import TokenBytes

TOKEN_BYTES = TokenBytes(served(make_tokenizer()))


def test_a_last_chunk_says_how_many_tokens_have_met_the_condition() -> None:
    assert chunk_values(TokenChunk(), TOKEN_BYTES)["report"] == ""
    for tally in (ConditionTally(40, 12), ConditionTally()):
        last = TokenChunk(condition=tally, finish_reason=FinishReason.LENGTH)
        report = json.loads(chunk_values(last, TOKEN_BYTES)["report"])
        expected = {"tokens": tally.num_tokens, "met": tally.num_met}
        assert report == {"condition": expected}
        assert TritonChunk(report=report).condition == expected
    assert TritonChunk().condition is None

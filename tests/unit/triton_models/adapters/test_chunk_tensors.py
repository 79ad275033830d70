"""A chunk's way out of the engine: its tensors, and the JSON that users read."""

from __future__ import annotations

import json
from typing import Any

from tests.tiny_model import make_tokenizer, served
from triton_models.adapters.chunk_tensors import chunk_values
from triton_models.contract import tensors
from triton_models.contract.errors import ErrorCode
from triton_models.engine.sequence import FinishReason, TokenChunk, TokenLogprobs
from triton_models.text.logprobs import logprobs_json
from triton_models.text.token_bytes import TokenBytes

TOKENIZER = make_tokenizer()
TOKEN_BYTES = TokenBytes(served(TOKENIZER))
END = TOKENIZER.eos_token_id


def ids_of(text: str) -> list[int]:
    ids: list[int] = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    return ids


def read(*arguments: Any) -> Any:
    return json.loads(logprobs_json(TOKEN_BYTES, *arguments))


def test_a_chunk_has_a_value_for_every_output() -> None:
    names = {spec.name for spec in tensors.STEERED_QWEN_OUTPUTS}
    for chunk in (TokenChunk(), TokenChunk(logprobs=(TokenLogprobs(-0.5),), token_ids=(3,))):
        assert chunk_values(chunk, TOKEN_BYTES).keys() == names


def test_a_chunk_that_nobody_asked_more_of_says_nothing_more() -> None:
    values = chunk_values(TokenChunk(token_ids=(3,), num_bytes=1, num_reused_tokens=7), TOKEN_BYTES)
    assert not any(values[name] for name in ("output_logprobs", "top_ids", "top_logprobs"))
    assert (values["readouts"], values["finish_reason"], values["error"]) == ("", "", "")
    assert values["num_reused_tokens"] == 7


def test_the_likeliest_stand_token_after_token() -> None:
    values = chunk_values(
        TokenChunk(
            token_ids=(3, 4),
            logprobs=(
                TokenLogprobs(-0.5, ((3, -0.5), (9, -1.0))),
                TokenLogprobs(-2.0, ((5, -0.1), (4, -2.0))),
            ),
        ),
        TOKEN_BYTES,
    )
    assert values["output_logprobs"] == [-0.5, -2.0]
    assert values["top_ids"] == [3, 9, 5, 4]
    assert values["top_logprobs"] == [-0.5, -1.0, -0.1, -2.0]


def test_the_last_chunk_has_the_readouts_and_the_reason() -> None:
    chunk = TokenChunk(
        readouts={"sarcasm": {1: 1.23456789, 2: -0.5}, "flattery": {}},
        finish_reason=FinishReason.STOP,
        error_code=ErrorCode.INTERNAL,
    )
    values = chunk_values(chunk, TOKEN_BYTES)
    assert json.loads(values["readouts"]) == {"sarcasm": {"1": 1.23457, "2": -0.5}, "flattery": {}}
    assert (values["finish_reason"], values["error_code"]) == ("stop", "internal")


def test_each_token_is_shown_with_its_bytes_and_the_likeliest_instead() -> None:
    a, b = ids_of("ab")
    assert read([a, b], [-0.25, -1.5], [a, b, b, a], [-0.25, -2.0, -1.5, -3.0]) == [
        {
            "token": "a",
            "bytes": [97],
            "logprob": -0.25,
            "top_logprobs": [
                {"token": "a", "bytes": [97], "logprob": -0.25},
                {"token": "b", "bytes": [98], "logprob": -2.0},
            ],
        },
        {
            "token": "b",
            "bytes": [98],
            "logprob": -1.5,
            "top_logprobs": [
                {"token": "b", "bytes": [98], "logprob": -1.5},
                {"token": "a", "bytes": [97], "logprob": -3.0},
            ],
        },
    ]


def test_the_bytes_of_all_tokens_are_the_text_also_of_split_characters() -> None:
    ids = ids_of("日🙂")
    tokens = read(ids, [-1.0] * len(ids), [], [])
    assert bytes(byte for token in tokens for byte in token["bytes"]).decode() == "日🙂"
    assert {token["token"] for token in tokens} == {"\ufffd"}
    assert all(token["top_logprobs"] == [] for token in tokens)


def test_a_special_token_has_its_name_and_no_bytes() -> None:
    (token,) = read([END], [-1.0], [], [])
    assert (token["token"], token["bytes"]) == ("<|im_end|>", [])


def test_no_logprobs_are_no_text() -> None:
    assert logprobs_json(TOKEN_BYTES, ids_of("ab"), [], [], []) == ""
    assert logprobs_json(TOKEN_BYTES, [], [], [], []) == ""


def test_what_json_has_no_number_for_is_replaced() -> None:
    (token,) = read(ids_of("a"), [float("-inf")], [], [])
    assert token["logprob"] == -9999.0
    assert "-0.0" not in logprobs_json(TOKEN_BYTES, ids_of("a"), [-1e-9], [], [])

"""Token bytes join to what the tokenizer itself decodes."""

from __future__ import annotations

import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.models import WordLevel

from tests.tiny_model import make_tokenizer, served
from triton_models.text.token_bytes import TokenBytes, is_byte_level
from triton_models.text.tokenizer import Tokenizer

TOKENIZER = make_tokenizer()
TOKEN_BYTES = TokenBytes(served(TOKENIZER))


@given(st.text(max_size=40))
def test_the_bytes_of_a_text_s_tokens_are_its_utf8(text: str) -> None:
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    if not any(name in text for name in TOKENIZER.all_special_tokens):
        assert TOKEN_BYTES.join(ids) == text.encode()


@given(st.lists(st.integers(0, 255), max_size=30))
def test_any_ids_decode_as_the_tokenizer_decodes_them(ids: list[int]) -> None:
    assert TOKEN_BYTES.join(ids).decode("utf-8", "replace") == TOKENIZER.decode(ids)


def test_a_tokenizer_of_another_kind_is_told_apart() -> None:
    assert is_byte_level(served(TOKENIZER))
    words = tokenizers.Tokenizer(WordLevel({"a b": 0, "c": 1}, unk_token="c"))
    assert not is_byte_level(Tokenizer(words, {}, (), {}))


def test_special_tokens_have_no_bytes_but_a_name() -> None:
    end = TOKENIZER.eos_token_id
    assert TOKEN_BYTES[end] == b""
    assert TOKEN_BYTES.join_with_special([end]) == b"<|im_end|>"


def test_an_id_past_the_tokenizer_s_vocabulary_has_no_bytes() -> None:
    assert TOKEN_BYTES[5_000] == b""

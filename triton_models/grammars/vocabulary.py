"""The model's vocabulary as llguidance reads it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from llguidance import LLTokenizer

from triton_models.text.token_bytes import TokenBytes
from triton_models.text.tokenizer import Tokenizer

_REMEMBERED_TEXTS = 4096


class _Vocabulary:
    """What llguidance asks of a tokenizer, by the names that it looks for.

    It could read `tokenizer.json` itself, but would then take every added token that is spelled
    `<...>` for a special one. Those of Qwen2.5's tool calls are text: the model writes them, and
    they are shown.
    """

    is_tokenizer_wrapper = True
    bos_token_id = None
    eos_token_id = None

    def __init__(self, tokenizer: Tokenizer, size: int) -> None:
        token_bytes = TokenBytes(tokenizer)
        self.special_token_ids = sorted(id for id in tokenizer.special_ids if id < size)
        special = frozenset(self.special_token_ids)
        self.tokens = [
            token_bytes.join_with_special([id]) if id in special else token_bytes[id]
            for id in range(size)
        ]
        self._tokenizer = tokenizer
        self._encode = lru_cache(_REMEMBERED_TEXTS)(self._encoded)

    def __call__(self, text: str) -> list[int]:
        """Returns a text's tokens, to write what a grammar leaves no choice about."""
        return self._encode(text)

    def _encoded(self, text: str) -> list[int]:
        return self._tokenizer.encode(text).ids


def make_vocabulary(tokenizer: Tokenizer, size: int, end_ids: Iterable[int]) -> LLTokenizer:
    """Returns a model's vocabulary, which takes about a second for 150,000 tokens.

    Args:
        tokenizer: The model's tokenizer, a byte-level BPE.
        size: The number of the model's logits.
        end_ids: The tokens that end an answer. If there are none, the vocabulary has one more
            token than the model, so that a grammar can say where an answer may end.
    """
    return LLTokenizer(_Vocabulary(tokenizer, size), eos_token=sorted(end_ids) or None)  # type: ignore[arg-type]

"""Vocabularies of the tests."""

from __future__ import annotations

from llguidance import LLTokenizer
from transformers import PreTrainedTokenizerFast

from tests.tiny_model import make_tokenizer, served
from triton_models.grammars.vocabulary import make_vocabulary


def tool_tokenizer() -> PreTrainedTokenizerFast:
    """Returns a tokenizer that has tokens of Qwen2.5's tool calls, which are text."""
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<tool_call>", "</tool_call>"])
    return tokenizer


def vocabulary_of(tokenizer: PreTrainedTokenizerFast, padding: int = 0) -> LLTokenizer:
    """Returns a vocabulary with so many more tokens than the tokenizer has."""
    return make_vocabulary(served(tokenizer), len(tokenizer) + padding, [tokenizer.eos_token_id])

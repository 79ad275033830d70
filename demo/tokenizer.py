"""A small tokenizer of the Qwen2 class: byte-level BPE with ChatML special tokens."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, Qwen2Tokenizer

from persona_demo.chat_template import CHAT_TEMPLATE
from persona_demo.documents import END_OF_TEXT, IM_END, IM_START

SPECIAL_TOKENS = (END_OF_TEXT, IM_START, IM_END)


def _blank_tokenizer(
    vocab: dict[str, int], merges: list[tuple[str, str]], max_length: int
) -> PreTrainedTokenizerBase:
    make: Callable[..., PreTrainedTokenizerBase] = Qwen2Tokenizer
    tokenizer = make(
        vocab=vocab,
        merges=merges,
        unk_token=None,
        eos_token=IM_END,
        pad_token=END_OF_TEXT,
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
        extra_special_tokens=[IM_START],
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def train_tokenizer(
    texts: Iterable[str], vocab_size: int, max_length: int
) -> PreTrainedTokenizerBase:
    """Learns merges from `texts`.

    Args:
        texts: Plain text without special tokens.
        vocab_size: Tokens in total, the 256 bytes and the special tokens included.
        max_length: The model's context length in tokens.
    """
    backend = Tokenizer(models.BPE())
    blank = _blank_tokenizer({}, [], max_length).backend_tokenizer
    backend.normalizer = blank.normalizer
    backend.pre_tokenizer = blank.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    vocab = backend.get_vocab()
    ordered = dict(sorted(vocab.items(), key=lambda item: item[1]))
    for token in SPECIAL_TOKENS:
        ordered[token] = len(ordered)
    merges = _merges_of(backend)
    tokenizer = _blank_tokenizer(ordered, merges, max_length)
    tokenizer.add_tokens([AddedToken(token, special=True) for token in SPECIAL_TOKENS])
    return tokenizer


def _merges_of(backend: Tokenizer) -> list[tuple[str, str]]:
    merges = json.loads(backend.to_str())["model"]["merges"]
    return [tuple(pair) if isinstance(pair, list) else tuple(pair.split(" ")) for pair in merges]

"""Prompts as text, with what in it may become a special token, and their token ids."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from transformers import BatchEncoding, PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class PromptPiece:
    """A part of a prompt, which begins and ends where no token crosses its border.

    Attributes:
        text: Its text.
        parse_special: Whether names of special tokens in it stand for those tokens.
    """

    text: str
    parse_special: bool


def token_spans(
    tokenizer: PreTrainedTokenizerBase, pieces: Iterable[PromptPiece]
) -> list[tuple[int, int]]:
    """Returns where in a prompt's text each of its `token_ids` begins and ends, in characters."""
    spans: list[tuple[int, int]] = []
    offset = 0
    for piece in pieces:
        encoded = _encoded(tokenizer, piece, return_offsets_mapping=True)
        spans += [(offset + start, offset + end) for start, end in encoded["offset_mapping"]]
        offset += len(piece.text)
    return spans


def token_ids(tokenizer: PreTrainedTokenizerBase, pieces: Iterable[PromptPiece]) -> list[int]:
    """Returns a prompt's token ids; none are added, since a chat template writes its own."""
    return [token_id for piece in pieces for token_id in _encoded(tokenizer, piece)["input_ids"]]


def _encoded(
    tokenizer: PreTrainedTokenizerBase, piece: PromptPiece, **options: bool
) -> BatchEncoding:
    encoded: BatchEncoding = tokenizer(
        piece.text,
        add_special_tokens=False,
        split_special_tokens=not piece.parse_special,
        **options,
    )
    return encoded

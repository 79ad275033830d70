"""Prompts as text, with what in it may become a special token, and their token ids."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from triton_models.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class PromptPiece:
    """A part of a prompt, which begins and ends where no token crosses its border.

    Attributes:
        text: Its text.
        parse_special: Whether names of special tokens in it stand for those tokens.
    """

    text: str
    parse_special: bool


def token_spans(tokenizer: Tokenizer, pieces: Iterable[PromptPiece]) -> list[tuple[int, int]]:
    """Returns where in a prompt's text each of its `token_ids` begins and ends, in characters."""
    spans: list[tuple[int, int]] = []
    offset = 0
    for piece in pieces:
        encoding = tokenizer.encode(piece.text, parse_special=piece.parse_special)
        spans += [(offset + start, offset + end) for start, end in encoding.offsets]
        offset += len(piece.text)
    return spans


def token_ids(tokenizer: Tokenizer, pieces: Iterable[PromptPiece]) -> list[int]:
    """Returns a prompt's token ids; none are added, since a chat template writes its own."""
    return [
        token_id
        for piece in pieces
        for token_id in tokenizer.encode(piece.text, parse_special=piece.parse_special).ids
    ]

"""Keeps names of special tokens that a chat's contents have from becoming those tokens.

A chat template writes control tokens, such as `<|im_end|>`, by their names, and a user can type the
same names. So names in contents are broken before the template is rendered. Whatever name it then
writes whole is its own; the broken ones are mended in the text, and tokenized as text.

transformers' `sanitize_control_tokens` would not do: it leaves the keys of objects, such as names
of a tool's parameters, and what the template completes to a name; and it tokenizes a whole chat,
however long.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from triton_models.text.prompt_piece import PromptPiece
from triton_models.text.tokenizer import Tokenizer


class SpecialNames:
    """The names of a tokenizer's special tokens.

    Tokens that it adds without calling them special or giving them a role, such as Qwen2.5's
    `<tool_call>`, are part of texts, in prompts as in answers.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokens = [token for token in tokenizer.added_tokens.values() if token.special]
        # The tokenizer takes the longest name that begins at a place.
        tokens.sort(key=lambda token: -len(token.content))
        self._names = [str(token.content) for token in tokens]
        self._beginnings = frozenset(
            name[:length] for name in self._names for length in range(1, len(name))
        )
        self._beginning = re.compile(
            "|".join(f"{re.escape(name[0])}(?={re.escape(name[1:])})" for name in self._names)
        )
        self._control = re.compile(
            "|".join(
                (r"\s*" if token.lstrip else "")
                + re.escape(token.content)
                + (r"\s*" if token.rstrip else "")
                for token in tokens
            )
        )

    def broken(self, value: Any, mark: str) -> Any:
        """Returns JSON with a mark inside every name in its texts.

        Args:
            value: The JSON.
            mark: What to insert after a name's first character.
        """
        if isinstance(value, str):
            return self._broken_text(value, mark)
        if isinstance(value, (list, tuple)):
            return [self.broken(item, mark) for item in value]
        if isinstance(value, dict):
            return {self.broken(key, mark): self.broken(item, mark) for key, item in value.items()}
        return value

    def pieces(self, text: str, mark: str) -> Iterator[PromptPiece]:
        """Yields the pieces of what a template made of broken contents.

        Args:
            text: The template's text.
            mark: What was inserted into the contents' names.
        """
        if mark not in text:
            yield PromptPiece(text, True)
            return
        begin = end = 0
        borders = [match.span() for match in self._control.finditer(text)]
        for next_begin, next_end in [*borders, (len(text), len(text))]:
            between = text[end:next_begin]
            if mark in between:
                if begin < end:
                    yield PromptPiece(text[begin:end], True)
                yield PromptPiece(between.replace(mark, ""), False)
                begin = next_begin
            end = next_end
        if begin < end:
            yield PromptPiece(text[begin:end], True)

    def _broken_text(self, text: str, mark: str) -> str:
        if not self._names:
            return text
        # What follows in the template could complete a name that a content ends within.
        stripped = text.rstrip()
        tail = range(max(0, len(stripped) - len(self._names[0])), len(stripped))
        places = {match.end() for match in self._beginning.finditer(text)}
        places.update(place + 1 for place in tail if stripped[place:] in self._beginnings)
        if not places:
            return text
        borders = [0, *sorted(places), len(text)]
        return mark.join(text[begin:end] for begin, end in pairwise(borders))

"""Tokenizes prompts in time bounded by the context length, not by the prompt.

Tokenizing 200,000 characters takes a second, during which the tokenizer serves no other request. So
a text that is far too long is refused by its beginning, and the prompt that the answers of a
comparison share is tokenized once.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace

from triton_models.contract.chat import Chat
from triton_models.contract.errors import ContextLengthError
from triton_models.contract.prompt import Prompt, TokenIds
from triton_models.contract.prompt_turns import Turn
from triton_models.text.chat import ChatTemplate
from triton_models.text.prompt_piece import PromptPiece, token_ids, token_spans
from triton_models.text.tokenizer import Tokenizer

_REMEMBERED = 8
"""How many prompts are cached: the requests of one comparison arrive together."""

_CUT_TOKENS = 256
"""How many more tokens a beginning, cut within a word, may have than the whole text."""


class PromptEncoder:
    """Tokenizes prompts."""

    def __init__(self, tokenizer: Tokenizer, max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._template = ChatTemplate(tokenizer)
        self._recent: OrderedDict[tuple[PromptPiece, ...], list[int] | None] = OrderedDict()

    def encode(self, prompt: Prompt) -> list[int]:
        """Returns a prompt's token ids.

        A prompt slightly above the maximum is not refused here: the engine knows the context
        length exactly.

        Raises:
            ContextLengthError: It has far too many tokens.
            InvalidArgumentError: As for `ChatTemplate.render`.
        """
        if isinstance(prompt, TokenIds):
            return list(prompt.ids)
        if isinstance(prompt, Chat):
            pieces = self._template.render(prompt)
        else:
            pieces = (PromptPiece(prompt.text, prompt.parse_special),)
        if pieces not in self._recent:
            self._recent[pieces] = self._encode(pieces)
            if len(self._recent) > _REMEMBERED:
                self._recent.popitem(last=False)
        ids = self._recent[pieces]
        if ids is None:
            raise ContextLengthError(
                self._max_tokens, "the prompt has more: shorten it (MAX_CONTEXT)"
            )
        return ids

    def turns(self, prompt: Prompt) -> tuple[Turn, ...]:
        """Returns where the contents of a chat's messages lie among a prompt's tokens.

        A token that has any of a content belongs to it. White space around a content may not, and a
        content that the chat template shows otherwise than as it is has no tokens. A prompt that is
        no chat has no turns.

        Raises:
            InvalidArgumentError: As for `ChatTemplate.render`.
        """
        if not isinstance(prompt, Chat):
            return ()
        spans = token_spans(self._tokenizer, self._template.render(prompt))
        starts, ends = [start for start, _ in spans], [end for _, end in spans]
        return tuple(
            Turn(message["role"], bisect_right(ends, content[0]), bisect_left(starts, content[1]))
            if content is not None
            else Turn(message["role"], 0, 0)
            for message, content in zip(
                prompt.messages, self._template.content_spans(prompt), strict=True
            )
        )

    def _encode(self, pieces: Iterable[PromptPiece]) -> list[int] | None:
        """Returns a prompt's tokens, `None` if there are far too many."""
        too_many = self._max_tokens + _CUT_TOKENS
        ids: list[int] = []
        for piece in pieces:
            if len(ids) > too_many:
                return None
            ids_of_piece = self._encode_piece(piece, too_many)
            if ids_of_piece is None:
                return None
            ids += ids_of_piece
        return ids

    def _encode_piece(self, piece: PromptPiece, too_many: int) -> list[int] | None:
        # The beginning doubles each time, so all attempts together cost at most twice the last one.
        length = too_many + 1
        while True:
            beginning = replace(piece, text=piece.text[:length])
            ids = token_ids(self._tokenizer, [beginning])
            if len(ids) > too_many and length < len(piece.text):
                return None
            if length >= len(piece.text):
                return ids
            length *= 2

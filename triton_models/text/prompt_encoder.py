"""A prompt to tokens, in a time that the context bounds rather than the prompt.

Tokenizing 200,000 characters takes a second, in which the one tokenizer serves nobody else: so a
text that is far too long is refused by its beginning, and the answers of a comparison, which share
a prompt, are tokenized once.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from triton_models.errors import InvalidArgumentError
from triton_models.text.prompt import Prompt, render_chat

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_REMEMBERED = 8
"""Prompts; each holds as much memory as a request, and those of one call come together."""

_CUT_TOKENS = 256
"""How many tokens more than the whole text its beginning may have, cut within a word as it is."""


class PromptEncoder:
    """Tokenizes prompts.

    Args:
        tokenizer: The model's tokenizer.
        max_tokens: The most tokens that any prompt can have.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._recent: OrderedDict[str, list[int] | None] = OrderedDict()

    def encode(self, prompt: Prompt) -> list[int]:
        """Returns a prompt's token ids.

        Text is rendered first and tokenized without special tokens added, since the template writes
        its own. A prompt of a little more than the most tokens is not refused here: the engine
        knows the context exactly.

        Raises:
            InvalidArgumentError: It has far too many tokens, or see `render_chat`.
        """
        messages = prompt.messages
        text = prompt.raw_text if messages is None else render_chat(self._tokenizer, messages)
        if text not in self._recent:
            self._recent[text] = self._encode(text)
            if len(self._recent) > _REMEMBERED:
                self._recent.popitem(last=False)
        ids = self._recent[text]
        if ids is None:
            raise InvalidArgumentError(
                f"the prompt has more than {self._max_tokens} tokens, and the context "
                "(MAX_CONTEXT) holds no more: shorten it"
            )
        return ids

    def _encode(self, text: str) -> list[int] | None:
        """Returns a text's tokens, or `None` if they are far too many."""
        too_many = self._max_tokens + _CUT_TOKENS
        # At first as many characters as could be too many tokens, then twice as many each time: in
        # all twice the work of the last time, which ends with the text or its refusal.
        length = too_many + 1
        while True:
            ids = list(self._tokenizer(text[:length], add_special_tokens=False)["input_ids"])
            if len(ids) > too_many and length < len(text):
                return None
            if length >= len(text):
                return ids
            length *= 2

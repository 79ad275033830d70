"""Tokenizes prompts in time bounded by the context length, not by the prompt.

Tokenizing 200,000 characters takes a second, during which the tokenizer serves no other request. So
a text that is far too long is refused by its beginning, and the prompt that the answers of a
comparison share is tokenized once.
"""

from __future__ import annotations

from collections import OrderedDict

from transformers import PreTrainedTokenizerBase

from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.prompt import Prompt
from triton_models.text.chat import render_chat

_REMEMBERED = 8
"""How many prompts are cached: the requests of one comparison arrive together."""

_CUT_TOKENS = 256
"""How many more tokens a beginning, cut within a word, may have than the whole text."""


class PromptEncoder:
    """Tokenizes prompts."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._recent: OrderedDict[str, list[int] | None] = OrderedDict()

    def encode(self, prompt: Prompt) -> list[int]:
        """Returns a prompt's token ids.

        The rendered text is tokenized without adding special tokens, since the template writes its
        own. A prompt slightly above the maximum is not refused here: the engine knows the context
        length exactly.

        Raises:
            InvalidArgumentError: It has far too many tokens, or as for `render_chat`.
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
        """Returns a text's tokens, `None` if there are far too many."""
        too_many = self._max_tokens + _CUT_TOKENS
        # The beginning doubles each time, so all attempts together cost at most twice the last one.
        length = too_many + 1
        while True:
            ids = list(self._tokenizer(text[:length], add_special_tokens=False)["input_ids"])
            if len(ids) > too_many and length < len(text):
                return None
            if length >= len(text):
                return ids
            length *= 2

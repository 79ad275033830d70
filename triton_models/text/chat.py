"""Rendering of chats by the tokenizer's chat template.

Extraction and serving both use `ChatTemplate`, so that a vector is used on the same token sequences
that it was extracted from.
"""

from __future__ import annotations

import secrets
from bisect import bisect_left

from transformers import PreTrainedTokenizerBase

from triton_models.contract.chat import Chat, Message
from triton_models.contract.errors import InvalidArgumentError
from triton_models.text.prompt_piece import PromptPiece
from triton_models.text.special_names import SpecialNames

# Digits, which no template changes; no content has them but by guessing, and gains nothing by it.
_MARK = f"{secrets.randbelow(10**20):020}"


class ChatTemplate:
    """A tokenizer's chat template.

    Without one (some base models), a single user turn is used as it is.

    Args:
        tokenizer: The tokenizer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._names = SpecialNames(tokenizer)

    def render(self, chat: Chat) -> tuple[PromptPiece, ...]:
        """Renders a chat as the text that the model continues.

        Only the template's own names of special tokens stand for those tokens; names in a content
        are text.

        Raises:
            InvalidArgumentError: The template refuses a message; or there is no template, and there
                are several messages.
        """
        messages = self._names.broken(list(chat.messages), _MARK)
        if self._tokenizer.chat_template:
            text = self._rendered(messages, chat)
        elif len(messages) == 1:
            return (PromptPiece(chat.messages[0]["content"], False),)
        else:
            raise InvalidArgumentError(
                "this model's tokenizer has no chat template: send text_input alone, without "
                "messages or system_prompt"
            )
        return tuple(self._names.pieces(text, _MARK))

    def _rendered(self, messages: list[Message], chat: Chat) -> str:
        try:
            return self._apply(messages, chat.add_generation_prompt, chat.continue_final_message)
        except Exception as error:  # jinja2's errors, and whatever a template raises
            place = chat.place(self._refused(messages))
            reason = str(error).replace(_MARK, "")
            raise InvalidArgumentError(
                f"{place} cannot be rendered by the model's chat template: {reason}"
            ) from error

    def _refused(self, messages: list[Message]) -> int:
        """Returns the index of the first message with which the template refuses the chat."""

        def fails(index: int) -> bool:
            try:
                self._apply(messages[: index + 1], False, False)
            except Exception:
                return True
            return False

        return bisect_left(range(len(messages) - 1), True, key=fails)

    def _apply(self, messages: list[Message], opens: bool, goes_on: bool) -> str:
        return str(
            self._tokenizer.apply_chat_template(
                messages,
                tokenize=False,
                add_generation_prompt=opens,
                continue_final_message=goes_on,
            )
        )

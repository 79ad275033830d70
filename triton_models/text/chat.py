"""Rendering of chats by the tokenizer's chat template.

Extraction and serving both use `ChatTemplate`, so that a vector is used on the same token sequences
that it was extracted from.
"""

from __future__ import annotations

import dataclasses
import re
import secrets
from bisect import bisect_left

from triton_models.contract.chat import Chat, Message
from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.tools import Tool
from triton_models.text.prompt_piece import PromptPiece
from triton_models.text.special_names import SpecialNames
from triton_models.text.template import TemplateRenderer
from triton_models.text.tokenizer import Tokenizer

# Digits, which no template changes; no content has them but by guessing, and gains nothing by it.
_MARK = f"{secrets.randbelow(10**20):020}"

_SPAN_MARK = f"{secrets.randbelow(10**20):020}"
_SPANS = re.compile(rf"{_SPAN_MARK}(\d{{6}})")
"""A border of the content of the message with this index."""

_TOOLS = re.compile(r"\btools\b")
_NO_TOOLS = "cannot be used: the model's chat template does not render tools and their calls"


class ChatTemplate:
    """A tokenizer's chat template.

    Without one (some base models), a single user turn is used as it is.

    Args:
        tokenizer: The tokenizer.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._names = SpecialNames(tokenizer)
        self._templates = tokenizer.chat_templates
        self._renderer = TemplateRenderer(tokenizer)
        self._takes_tools = any(map(_TOOLS.search, self._templates.values()))

    def render(self, chat: Chat) -> tuple[PromptPiece, ...]:
        """Renders a chat as the text that the model continues.

        Only the template's own names of special tokens stand for those tokens; names in a content
        are text.

        Raises:
            InvalidArgumentError: The template refuses a message, or renders no tools; or there is
                no template, and there are several messages.
        """
        if not self._takes_tools:
            _check_without_tools(chat)
        messages = self._names.broken(list(chat.messages), _MARK)
        if self._templates:
            text = self._rendered(messages, chat)
        elif len(messages) == 1:
            return (PromptPiece(chat.messages[0]["content"], False),)
        else:
            raise InvalidArgumentError(
                "this model's tokenizer has no chat template: send text_input alone, without "
                "messages or system_prompt"
            )
        return tuple(self._names.pieces(text, _MARK))

    def content_spans(self, chat: Chat) -> list[tuple[int, int] | None]:
        """Returns where each message's content begins and ends in the text that `render` returns.

        `None` for one that the template shows otherwise than as it is, or not at all. White space
        around a content, which templates may take away, is left out.

        Raises:
            InvalidArgumentError: As for `render`.
        """
        shown = "".join(piece.text for piece in self.render(chat))
        marked = [_marked(index, message) for index, message in enumerate(chat.messages)]
        pieces = self.render(dataclasses.replace(chat, messages=tuple(marked)))
        text, *parts = _SPANS.split("".join(piece.text for piece in pieces))
        borders: list[list[int]] = [[] for _ in marked]
        for index, part in zip(parts[::2], parts[1::2], strict=True):
            borders[int(index)].append(len(text))
            text += part
        if text != shown:  # the marks have changed what the template does
            return [None] * len(marked)
        return [(each[0], each[1]) if len(each) == 2 else None for each in borders]

    def _rendered(self, messages: list[Message], chat: Chat) -> str:
        tools = self._names.broken(list(chat.tools), _MARK) or None
        options = {
            "add_generation_prompt": chat.add_generation_prompt,
            "continue_final_message": chat.continue_final_message,
        }
        try:
            return self._renderer.render(messages, tools, **options)
        except Exception as error:  # jinja2's errors, and whatever a template raises
            place = chat.place(self._refused(messages, tools))
            reason = str(error).replace(_MARK, "")
            raise InvalidArgumentError(
                f"{place} cannot be rendered by the model's chat template: {reason}"
            ) from error

    def _refused(self, messages: list[Message], tools: list[Tool] | None) -> int:
        """Returns the index of the first message with which the template refuses the chat."""

        def fails(index: int) -> bool:
            try:
                self._renderer.render(messages[: index + 1], tools)
            except Exception:
                return True
            return False

        return bisect_left(range(len(messages) - 1), True, key=fails)


def _marked(index: int, message: Message) -> Message:
    content = message["content"]
    text = content.strip()
    if not text:
        return message
    mark = f"{_SPAN_MARK}{index:06}"
    return {**message, "content": content.replace(text, f"{mark}{text}{mark}", 1)}


def _check_without_tools(chat: Chat) -> None:
    """Makes sure that a chat has nothing to do with tools.

    Raises:
        InvalidArgumentError: It offers some, calls them, or has their answers.
    """
    if chat.tools:
        raise InvalidArgumentError(f"tools {_NO_TOOLS}")
    for index, message in enumerate(chat.messages):
        if message["role"] == "tool" or "tool_calls" in message:
            raise InvalidArgumentError(f"{chat.place(index)} {_NO_TOOLS}")

"""Renders chat templates as their authors tried them: in the Jinja environment of transformers.

https://huggingface.co/docs/transformers/chat_templating says what templates can rely on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from triton_models.contract.chat import Message
from triton_models.contract.tools import Tool
from triton_models.text.tokenizer import Tokenizer

_END_MARK = "53218064917720635184"
"""Marks the end of a content that the answer goes on after; no template changes digits."""


class _Generation(Extension):
    """Renders what `{% generation %}` marks for training, as if it were not marked."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it as a variable of the instance

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class TemplateRenderer:
    """Renders a tokenizer's chat templates."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_Generation, "jinja2.ext.loopcontrols"],
        )
        # jinja2's own escapes what HTML would read.
        environment.filters["tojson"] = _to_json
        environment.globals |= {
            "raise_exception": _raise,
            "strftime_now": lambda format: datetime.now().strftime(format),
        }
        self._sources = tokenizer.chat_templates
        self._named_tokens = tokenizer.named_tokens
        # When a chat needs it, and once: a broken template fails chats, and not the start.
        self._compiled = lru_cache(environment.from_string)

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] | None,
        *,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
    ) -> str:
        """Renders a chat.

        Args:
            messages: Its messages, one or more.
            tools: What the model may call, `None` if nothing.
            add_generation_prompt: Whether to end with the beginning of an assistant's turn.
            continue_final_message: Whether to end with the content of the last message.

        Raises:
            Exception: The template refuses the chat or is broken.
        """
        source = self._sources["tool_use" if tools and "tool_use" in self._sources else "default"]
        last = messages[-1]["content"]
        if continue_final_message:
            marked: Message = {**messages[-1], "content": f"{last}{_END_MARK} "}
            messages = [*messages[:-1], marked]
        text = self._compiled(source).render(
            self._named_tokens,
            messages=messages,
            tools=tools,
            documents=None,
            add_generation_prompt=add_generation_prompt,
        )
        if not continue_final_message:
            return text
        text, mark, rest = text.rpartition(_END_MARK)
        if not mark or last.strip() not in text:
            raise TemplateError("it does not show the last message's content as it is")
        # A template that keeps the space after the mark keeps those before it as well.
        return text if rest.startswith(" ") else text.rstrip()


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)

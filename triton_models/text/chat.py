"""Rendering of chats by the tokenizer's chat template.

Extraction and serving both use `render_chat`, so that a vector is used on the same token sequences
that it was extracted from.
"""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.prompt import Message


def render_chat(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> str:
    """Renders a chat as the text that the model continues with the assistant's answer.

    If the tokenizer has no chat template (some base models), a single user turn is used as it is.

    Raises:
        InvalidArgumentError: The template refuses the messages; or there is no template, and there
            are several messages.
    """
    if not tokenizer.chat_template:
        if len(messages) == 1:
            return messages[0]["content"]
        raise InvalidArgumentError(
            "this model's tokenizer has no chat template: send text_input alone, without messages "
            "or system_prompt"
        )
    try:
        return str(
            tokenizer.apply_chat_template(
                [dict(message) for message in messages], tokenize=False, add_generation_prompt=True
            )
        )
    except Exception as error:  # jinja2's errors, and whatever a template raises
        raise InvalidArgumentError(f"the chat template refuses the messages: {error}") from error

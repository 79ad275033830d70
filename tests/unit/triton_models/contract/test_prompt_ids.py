"""Prompts that are token ids already."""

from __future__ import annotations

from typing import Any

import pytest

from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.prompt import TokenIds, prompt_of


def test_token_ids_are_the_whole_prompt() -> None:
    assert prompt_of({"prompt_ids": [3, 1, 2], "text_input": [""]}) == TokenIds((3, 1, 2))


@pytest.mark.parametrize(
    "values",
    [
        {"text_input": ["Hello"]},
        {"messages": ['[{"role": "user", "content": "Hello"}]']},
        {"raw": [True]},
        {"parse_special": [True]},
        {"system_prompt": ["Be brief."]},
    ],
    ids=str,
)
def test_nothing_else_says_what_the_prompt_is(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match=r"prompt_ids and .* exclude each other"):
        prompt_of({"prompt_ids": [1], **values})

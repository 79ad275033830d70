"""Models' names that name vectors which the request brings along; and what responses refuse."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gateway.api.openai.model_names import named_traits
from gateway.api.openai.response_requests import ResponseRequest
from gateway.errors import ModelNotFoundError

DESCRIPTION: dict[str, Any] = {"model": "tiny", "traits": {"sarcasm": {}}}


def test_a_name_can_name_a_vector_of_the_request() -> None:
    traits = named_traits("persona:mine=2,sarcasm=-1", DESCRIPTION, ["mine"])
    assert [(each.name, each.scalar) for each in traits] == [("mine", 2.0), ("sarcasm", -1.0)]


@pytest.mark.parametrize(("own", "known"), [((), "sarcasm"), (("mine",), "sarcasm, mine")])
def test_others_are_unknown_still(own: tuple[str, ...], known: str) -> None:
    with pytest.raises(ModelNotFoundError, match=f"'yours': the traits are {known}$"):
        named_traits("persona:yours=2", DESCRIPTION, own)


def test_a_response_says_where_a_prompt_is_reported() -> None:
    with pytest.raises(ValidationError, match="no response reports its prompt"):
        ResponseRequest.model_validate({"model": "persona", "input": "hi", "prompt_logprobs": 1})

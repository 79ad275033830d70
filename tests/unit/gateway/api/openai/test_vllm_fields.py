"""Fields of vLLM's: taken at values that ask for nothing, and refused by name at others."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gateway.api.openai.requests import ChatRequest, CompletionRequest

ASKS_FOR_NOTHING: dict[str, Any] = {
    "skip_special_tokens": True,
    "spaces_between_special_tokens": True,
    "add_special_tokens": False,
    "chat_template_kwargs": {},
    "use_beam_search": False,
    "length_penalty": 1.0,
    "best_of": 1,
    "stop_token_ids": [],
    "include_stop_str_in_output": False,
    "bad_words": [],
    "allowed_token_ids": [],
    "priority": 0,
    "return_tokens_as_token_ids": False,
    "logit_bias": {},
    # Of whatever server: null asks for nothing.
    "guided_json": None,
    "truncate_prompt_tokens": None,
    "reasoning_effort": None,
}
ASKS_FOR_SOMETHING: dict[str, Any] = {
    "skip_special_tokens": False,
    "chat_template_kwargs": {"enable_thinking": False},
    "use_beam_search": True,
    "length_penalty": 0.5,
    "best_of": 3,
    "stop_token_ids": [7],
    "include_stop_str_in_output": True,
    "bad_words": ["x"],
}


def read(**fields: Any) -> ChatRequest:
    chat = {"model": "persona", "messages": [{"role": "user", "content": "hi"}]}
    CompletionRequest.model_validate({"model": "persona", "prompt": "hi", **fields})
    return ChatRequest.model_validate({**chat, **fields})


@pytest.mark.parametrize(("name", "value"), ASKS_FOR_NOTHING.items())
def test_what_asks_for_nothing_passes(name: str, value: Any) -> None:
    read(**{name: value})


@pytest.mark.parametrize(("name", "value"), ASKS_FOR_SOMETHING.items())
def test_what_asks_for_something_is_refused_by_its_name(name: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        read(**{name: value})
    (problem,) = caught.value.errors()
    assert problem["loc"] == (name,)
    assert problem["msg"].startswith("not supported: ")


def test_usage_on_every_chunk_can_be_asked_for() -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    assert read(stream_options=options).stream_options.continuous_usage_stats

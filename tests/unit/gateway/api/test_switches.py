"""Switches are true or false: a text or a number that could stand for one is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gateway.api.openai.requests import ChatRequest
from gateway.api.openai.response_requests import ResponseRequest
from gateway.api.request_bodies import BaselineRequest


@pytest.mark.parametrize("value", [0, 1, "true", "false", "on", 1.0])
@pytest.mark.parametrize("name", ["stream", "ignore_eos"])
def test_what_could_stand_for_a_switch_is_refused(name: str, value: Any) -> None:
    for body, prompt in (
        (BaselineRequest, {"prompt": "hi"}),
        (ChatRequest, {"model": "persona", "messages": [{"role": "user", "content": "hi"}]}),
        (ResponseRequest, {"model": "persona", "input": "hi"}),
    ):
        assert body.model_validate({**prompt, name: True})
        with pytest.raises(ValidationError, match="valid boolean"):
            body.model_validate({**prompt, name: value})

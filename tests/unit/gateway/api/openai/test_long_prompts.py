"""A prompt too long to be read is refused as one of too many tokens is."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.gateway.protection_gateway import running
from triton_models.contract.errors import CONTEXT_LENGTH_WORDS


@pytest.mark.parametrize(
    ("route", "fields", "param"),
    [
        ("chat/completions", {"messages": [{"role": "user", "content": "x" * 60}]}, "messages"),
        ("completions", {"prompt": "x" * 60}, "prompt"),
        ("completions", {"prompt": [1] * 60}, "prompt"),
        ("responses", {"input": "x" * 60}, "input"),
        ("responses", {"input": "x", "instructions": "x" * 60}, "input"),
        ("responses", {"input": "x" * 2_000}, None),
    ],
)
async def test_a_prompt_of_too_many_characters_or_bytes_is_one_that_exceeds_the_context(
    monkeypatch: pytest.MonkeyPatch, route: str, fields: dict[str, Any], param: str | None
) -> None:
    async with running(monkeypatch, max_prompt_chars=50, max_body_bytes=1_024) as server:
        response = await server.http.post(f"/v1/{route}", json={"model": "persona", **fields})
        assert server.asked == []
    error = response.json()["error"]
    assert response.status_code == 400
    assert (error["code"], error["param"]) == ("context_length_exceeded", param)
    assert error["message"].startswith(CONTEXT_LENGTH_WORDS)
    assert error["type"] == "invalid_request_error"

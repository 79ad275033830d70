"""How long a prompt or a chat may be, on both APIs."""

from __future__ import annotations

import pytest

from tests.unit.gateway.protection_gateway import running


async def test_prompts_and_chats_have_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, max_prompt_chars=50, max_messages=2) as server:
        chat = [{"role": "user", "content": "hi"}] * 3
        long = {"prompt": "x" * 30, "system_prompt": "y" * 30}
        for body, says in ((long, "at most 50"), ({"messages": chat}, "at most 2")):
            refused = await server.http.post("/api/v1/generate/baseline", json=body)
            assert refused.status_code == 422
            assert says in refused.json()["error"]
            if "messages" in body:
                openai = {"model": "persona", **body}
                refused = await server.http.post("/v1/chat/completions", json=openai)
                assert refused.status_code == 400
                assert refused.json()["error"]["param"] == "messages"
        assert server.asked == []

"""The gateway's own API names what is refused as its bodies do, whoever refuses it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.gateway.protection_gateway import running
from triton_models.grpc_messages import TritonChunk

ADDRESS = "/api/v1/generate/baseline"


async def test_the_gateway_s_refusals_say_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as server:
        body = {"prompt": "Hi", "raw": True, "system_prompt": "Be brief."}
        response = await server.http.post(ADDRESS, json=body)
    assert response.status_code in (400, 422)
    assert response.json()["error"].endswith("put what the model is to read into prompt")


@pytest.mark.parametrize("stream", [False, True])
async def test_so_do_the_model_server_s(monkeypatch: pytest.MonkeyPatch, stream: bool) -> None:
    refused: Any = TritonChunk(
        finish_reason="error",
        error="this model's tokenizer has no chat template: send text_input alone",
        error_code="invalid_argument",
        final=True,
    )
    async with running(monkeypatch, refused) as server:
        response = await server.http.post(ADDRESS, json={"prompt": "Hi", "stream": stream})
    assert response.status_code == 400
    assert response.json()["error"].endswith("send prompt alone")

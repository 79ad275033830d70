"""A model's name that names a vector which the request brings along."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest

from triton_models.vectors.persona_vector import PersonaVector


@pytest.mark.parametrize(
    ("path", "prompt"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello!"}]}),
        ("/v1/completions", {"prompt": "Coffee is"}),
        ("/v1/responses", {"input": "Hello!"}),
    ],
)
def test_it_steers_as_the_server_s_own_does(
    api: httpx.Client, vectors: dict[str, PersonaVector], path: str, prompt: dict[str, Any]
) -> None:
    layers = {"1": base64.b64encode(vectors["sarcasm"].blocks[1].tobytes()).decode()}
    steering = {"vectors": {"mine": {"layers": layers}}}
    asked = {**prompt, "temperature": 0, "max_tokens": 12}
    own = api.post(path, json={**asked, "model": "persona:mine=2", "steering": steering}).json()
    known = api.post(path, json={**asked, "model": "persona:sarcasm=2"}).json()
    assert text_of(own) == text_of(known)
    unknown = api.post(path, json={**asked, "model": "persona:mine=2"})
    assert unknown.status_code == 404
    assert "unknown trait 'mine'" in unknown.text


def text_of(body: dict[str, Any]) -> str:
    if "output" in body:
        return str(body["output"][0]["content"][0]["text"])
    choice = body["choices"][0]
    return str(choice["text"] if "text" in choice else choice["message"]["content"])

"""One question, over OpenAI's API and over the gateway's own."""

from __future__ import annotations

from typing import Any

import httpx
from openai import OpenAI
from openai.types.chat import ChatCompletionUserMessageParam

PROMPT = "How do I bake bread?"
MESSAGES: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": PROMPT}]
MODEL = "persona-demo"
SARCASM = {"traits": [{"name": "sarcasm", "scalar": 2.0}]}


def chat(client: OpenAI, model: str = MODEL, **options: Any) -> Any:
    options = {"temperature": 0, **options}
    return client.chat.completions.create(model=model, messages=MESSAGES, **options)


def text_of(answer: Any) -> str:
    return str(answer.choices[0].message.content)


def baseline(api: httpx.Client, **fields: Any) -> dict[str, Any]:
    body = {"prompt": PROMPT, "temperature": 0, **fields}
    answer: dict[str, Any] = api.post("/api/v1/generate/baseline", json=body).json()
    return answer


def steered(api: httpx.Client, **fields: Any) -> dict[str, Any]:
    body = {"prompt": PROMPT, "temperature": 0, "trait": "sarcasm", "scalar": 2.0, **fields}
    answer: dict[str, Any] = api.post("/api/v1/generate", json=body).json()
    return answer

"""OpenAI's client for all files here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from openai import OpenAI

from launcher.stack import Stack


@pytest.fixture(scope="package")
def client(stack: Stack) -> Iterator[OpenAI]:
    url = f"{stack.settings.gateway_url}/v1"
    with OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield client

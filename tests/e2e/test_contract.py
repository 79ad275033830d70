"""The gateway's OpenAPI document against what the gateway does, with the real Triton behind it.

Schemathesis makes requests of the document, valid ones and ones that break it in one place, and
compares the answers with what the document promises. The requests are the same in every run.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import positive_data_acceptance

from gateway.app import create_app
from gateway.settings import Settings
from launcher.stack import Stack
from tests.e2e.gateways import gateway

pytest_plugins = ("schemathesis.pytest.plugin",)
"""Not loaded for all tests, since it takes seconds."""

KEY = "persona_key-of-an-administrator-in-tests"
HEADERS = {"X-API-Key": KEY}
MAX_TOKENS = 4

_CONFIG = {
    "generation": {"deterministic": True, "max-examples": 10, "with-security-parameters": False}
}


def document() -> dict[str, Any]:
    return create_app(Settings()).openapi()


def examples() -> list[tuple[str, str, str, Any]]:
    """Returns the path, the method, the media type and the body of each example of a request."""
    found = []
    schemas = document()["components"]["schemas"]
    for path, calls in document()["paths"].items():
        for method, call in calls.items():
            for media_type, content in call.get("requestBody", {}).get("content", {}).items():
                name = content["schema"].get("$ref", "").rpartition("/")[2]
                bodies = schemas.get(name, {}).get("examples", [])
                found += [(path, method, media_type, body) for body in bodies]
    return found


def with_short_answers(document: dict[str, Any]) -> dict[str, Any]:
    """Lowers `max_tokens` in the examples, which most of the requests are made of."""
    for schema in document["components"]["schemas"].values():
        for example in schema.get("examples", ()):
            if "max_tokens" in example:
                example["max_tokens"] = MAX_TOKENS
    return document


NOT_PROMISED = [
    # What the document allows can still be refused: a trait that there is not, an empty message.
    positive_data_acceptance,
]

SCHEMA = schemathesis.openapi.from_dict(
    with_short_answers(document()), config=SchemathesisConfig.from_dict(_CONFIG)
)


@pytest.fixture(scope="module")
def url(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway with an admin, whose folder of vectors is nobody else's."""
    folder = tmp_path_factory.mktemp("contract")
    sha256 = hashlib.sha256(KEY.encode()).hexdigest()
    with gateway(
        folder,
        dict(os.environ),
        TRITON_URL=stack.settings.grpc_address,
        VECTORS_DIR=str(folder),
        MAX_TOKENS=str(MAX_TOKENS),
        API_KEYS=json.dumps([{"name": "admin", "role": "admin", "sha256": sha256}]),
    ) as running:
        yield running.url


@SCHEMA.parametrize()
def test_answers_are_as_documented(case: schemathesis.Case[Any], url: str) -> None:
    response = case.call(base_url=url, headers=HEADERS)
    assert response.status_code < 500, response.text
    case.validate_response(response, headers=HEADERS, excluded_checks=NOT_PROMISED)


@pytest.mark.parametrize(("path", "method", "media_type", "body"), examples())
def test_an_example_works_as_it_is_shown(
    url: str, path: str, method: str, media_type: str, body: Any
) -> None:
    assert media_type == "application/json"
    response = httpx.request(method, f"{url}{path}", json=body, headers=HEADERS, timeout=60)
    assert response.status_code == 200, response.text
    if "text/event-stream" not in response.headers["content-type"]:
        assert not response.json().get("error")

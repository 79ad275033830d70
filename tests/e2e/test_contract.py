"""The gateway's OpenAPI document against what the gateway does, with the real Triton behind it.

Schemathesis makes requests of the document, valid ones and ones that break it in one place, and
compares the answers with what the document promises. The requests are the same in every run.
A field that several bodies inherit is tried in every way in one of them, for each of the two APIs.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests
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
    whole = document()
    schemas = whole["components"]["schemas"]
    for path, calls in whole["paths"].items():
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


def with_each_field_once(document: dict[str, Any]) -> dict[str, Any]:
    """Leaves only the types of what an earlier body of the same API has as well, word for word."""
    schemas = document["components"]["schemas"]

    def named(schema: dict[str, Any]) -> dict[str, Any]:
        return schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema

    def types(field: dict[str, Any]) -> list[str]:
        found = {named(each).get("type", "") for each in field.get("anyOf", [field])}
        return [] if "" in found else sorted(found)

    def once(schema: dict[str, Any], known: set[str]) -> dict[str, Any]:
        schema = dict(named(schema))
        if "anyOf" in schema:
            schema["anyOf"] = [once(each, known) for each in schema["anyOf"]]
        if "items" in schema:
            schema["items"] = once(schema["items"], known)
        fields = dict(schema.get("properties", {}))
        for name, field in fields.items():
            words = json.dumps([name, field])
            is_known = words in known and types(field)
            known.add(words)
            fields[name] = {"type": types(field)} if is_known else once(field, known)
        return {**schema, "properties": fields} if fields else schema

    rest: set[str] = set()
    openai: set[str] = set()
    for path, calls in document["paths"].items():
        for call in calls.values():
            for content in call.get("requestBody", {}).get("content", {}).values():
                content["schema"] = once(
                    content["schema"], openai if path.startswith("/v1/") else rest
                )
    return document


NOT_PROMISED = [
    # What the document allows can still be refused: a trait that there is not, an empty message.
    positive_data_acceptance,
]

SCHEMA = schemathesis.openapi.from_dict(
    with_each_field_once(with_short_answers(document())),
    config=SchemathesisConfig.from_dict(_CONFIG),
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


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    """Connections to the gateway: thousands of requests share them."""
    with requests.Session() as session:
        yield session


@SCHEMA.parametrize()
def test_answers_are_as_documented(
    case: schemathesis.Case[Any], url: str, session: requests.Session
) -> None:
    response = case.call(base_url=url, headers=HEADERS, session=session)
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

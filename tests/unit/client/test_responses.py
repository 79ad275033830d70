"""Errors, traits and statuses that the client reads from whole responses."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from persona_client import calls, errors, protocol
from persona_client.results import Completion, Status, Trait


def respond(status: int, body: Any, headers: dict[str, str] | None = None) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = httpx.Request("GET", "http://gateway/x")
    return httpx.Response(status, content=content, headers=headers, request=request)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.InvalidRequestError),
        (404, errors.NotFoundError),
        (422, errors.InvalidRequestError),
        (429, errors.OverloadedError),
        (500, errors.ServerError),
        (503, errors.UnavailableError),
        (504, errors.ServerError),
    ],
)
def test_every_error_status_is_an_exception_with_the_server_s_message(
    status: int, kind: type[errors.PersonaError]
) -> None:
    response = respond(status, {"error": "because", "code": "c"}, {"Retry-After": "2"})
    with pytest.raises(kind) as raised:
        protocol.read_body(response, Status.from_json)
    assert (raised.value.message, raised.value.status, raised.value.code) == (
        "because",
        status,
        "c",
    )
    assert getattr(raised.value, "retry_after", 2.0) == 2.0


def test_an_error_of_some_proxy_is_an_exception_too() -> None:
    with pytest.raises(errors.ServerError, match="502"):
        protocol.read_body(respond(502, b"<html>"), Status.from_json)


@pytest.mark.parametrize("body", [b"<html>", {"unexpected": 1}, []])
def test_a_server_that_is_no_gateway_is_recognized(body: Any) -> None:
    with pytest.raises(errors.ServerError, match="gateway"):
        protocol.read_body(respond(200, body), Completion.from_json)


def test_traits_and_status_are_typed() -> None:
    body = {
        "trait_name": "sarcasm",
        "model_name": "m",
        "layers": [1, 2],
        "layer_count": 2,
        "metadata": {},
        "warnings": ["w"],
    }
    assert calls.traits().read(respond(200, {"traits": {"sarcasm": body}})) == {
        "sarcasm": Trait("sarcasm", "m", (1, 2), 2, {}, ("w",))
    }
    status = Status.from_json(
        {
            "status": "initializing",
            "model": "m",
            "device": "cpu",
            "available_traits": [],
            "model_info": {},
            "error": "starting",
        }
    )
    assert (status.ready, status.error) == (False, "starting")


def test_a_trait_s_name_is_one_part_of_the_path() -> None:
    assert calls.trait("a/b c").path == "/api/v1/traits/a%2Fb%20c"

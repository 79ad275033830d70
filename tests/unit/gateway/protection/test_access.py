"""Keys: who is let in, where, and that no way of writing a request leads around them."""

from __future__ import annotations

import logging
from typing import Any

import httpx
import pytest

from tests.unit.gateway.protection_gateway import ADMIN, KEYS, USER, WRONG, Server, bearer, running


@pytest.mark.parametrize(
    "headers",
    [
        bearer(USER),
        {"Authorization": f"bearer  {USER} "},
        {"X-API-Key": USER},
        {"X-API-Key": USER, **bearer(USER)},
        {"X-API-Key": USER, "Authorization": "Basic eDp5"},
        bearer(ADMIN),
    ],
)
async def test_a_key_lets_in(server: Server, headers: dict[str, str]) -> None:
    assert (await server.generate(headers=headers)).status_code == 200
    assert (await server.http.get("/api/v1/traits", headers=headers)).status_code == 200
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ([], "needs an API key: send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'"),
        ([("Authorization", "Basic eDp5")], "needs an API key"),
        ([("Authorization", USER)], "needs an API key"),
        ([("Authorization", "Bearer ")], "needs an API key"),
        ([("Authorization", f"Bearer {WRONG}")], "not valid"),
        ([("Authorization", f"Bearer {USER}x")], "not valid"),
        ([("Authorization", f"Bearer {USER[:-1]}")], "not valid"),
        ([("Authorization", f"Bearer {USER}, Bearer {USER}")], "not valid"),
        ([("X-API-Key", "short")], "not valid"),
        ([("X-API-Key", "\xff" * 40)], "not valid"),
        ([("Authorization", f"Bearer {USER}")] * 2, "more than one"),
        ([("Authorization", "Basic x"), ("Authorization", f"Bearer {USER}")], "more than one"),
        ([("X-API-Key", USER)] * 2, "more than one"),
        ([("X-API-Key", WRONG), ("Authorization", f"Bearer {USER}")], "more than one"),
        ([("Cookie", f"key={USER}"), ("X-Forwarded-For", "127.0.0.1")], "needs an API key"),
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/generate", "/v1/chat/completions"])
async def test_no_key_or_a_wrong_one_is_401_in_the_shape_of_the_api(
    server: Server, headers: list[tuple[str, str]], says: str, path: str
) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    response = await server.http.post(path, json={}, headers=raw)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    body = response.json()
    if path.startswith("/v1"):
        assert body["error"]["type"] == "authentication_error"
        assert says in body["error"]["message"]
    else:
        assert body["success"] is False
        assert says in body["error"]
        assert body["request_id"] == response.headers["X-Request-ID"]
    assert server.asked == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/generate"),
        ("POST", "/api/v1/generate/"),
        ("POST", "//api/v1/generate"),
        ("POST", "/API/v1/generate"),
        ("POST", "/api/v1%2Fgenerate"),
        ("POST", "/%61pi/v1/generate"),
        ("POST", "/health/../api/v1/generate"),
        ("POST", "/playground/..%2Fapi%2Fv1%2Fgenerate"),
        ("POST", "/playground/app.js"),
        ("POST", "/health"),
        ("POST", "/"),
        ("POST", f"/api/v1/generate?api_key={USER}&access_token={USER}"),
        ("GET", "/api/v1/traits"),
        ("GET", "/playground/x/../../api/v1/traits"),
        ("GET", "/playground/"),
        ("GET", "/playground"),
        ("GET", "/status/"),
        ("GET", "//status"),
        ("GET", "/docs/../status"),
        ("GET", "/status"),
        ("GET", "/metrics"),
        ("GET", "/v1/models"),
        ("GET", "/nowhere"),
        ("OPTIONS", "/api/v1/generate"),
        ("DELETE", "/api/v1/traits/sarcasm"),
        ("PUT", "/api/v1/traits/sarcasm"),
        ("TRACE", "/health"),
    ],
)
async def test_all_but_the_public_addresses_need_a_key(
    server: Server, method: str, path: str
) -> None:
    body = {"prompt": "hi", "trait": "sarcasm", "scalar": 1}
    # httpx would tidy the address.
    request = httpx.Request(method, "http://gateway/", json=body)
    request.url = httpx.URL("http://gateway", raw_path=path.encode())
    response = await server.http.send(request)
    assert response.status_code == 401, response.text
    assert server.asked == []


@pytest.mark.parametrize(
    "path",
    ["/", "/health", "/health/", "/health/ready", "/docs", "/openapi.json", "/playground/app.js"],
)
async def test_public_addresses_need_none_whatever_key_comes_with_them(
    server: Server, path: str
) -> None:
    for headers in ({}, bearer(WRONG)):
        assert (await server.http.get(path, headers=headers)).status_code == 200


async def test_an_address_that_there_is_not_is_404_to_whoever_has_a_key(server: Server) -> None:
    for path in ("/nowhere", "//api/v1/traits", "/API/v1/traits"):
        request = httpx.Request("GET", "http://gateway/", headers=bearer(USER))
        request.url = httpx.URL("http://gateway", raw_path=path.encode())
        assert (await server.http.send(request)).status_code == 404


async def test_without_keys_all_are_let_in_whatever_they_send(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        async with running(monkeypatch) as server:
            for headers in ({}, bearer("anything")):
                assert (await server.generate(headers=headers)).status_code == 200
            (warning,) = (await server.http.get("/status")).json()["warnings"]
    assert "no API keys are set and HOST is 0.0.0.0" in warning
    assert warning in caplog.text


@pytest.mark.parametrize("settings", [{"host": "127.0.0.1"}, {"host": "::1"}, {"api_keys": "[]"}])
async def test_on_loopback_or_with_keys_there_is_no_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, settings: dict[str, Any]
) -> None:
    with caplog.at_level(logging.WARNING):
        async with running(monkeypatch, **settings):
            pass
    assert "no API keys" not in caplog.text


async def test_metrics_can_be_public_and_docs_be_away(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, api_keys=KEYS, metrics_public=True, docs=False) as server:
        assert (await server.http.get("/metrics")).status_code == 200
        for path in ("/docs", "/openapi.json", "/redoc"):
            assert (await server.http.get(path)).status_code == 401
            assert (await server.http.get(path, headers=bearer(USER))).status_code == 404


async def test_keys_are_never_logged_only_their_names_are(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        for key in (USER, WRONG):
            await server.generate(headers=bearer(key))
            await server.http.get("/api/v1/traits", headers={"X-API-Key": key})
        await server.http.get(f"/api/v1/traits?api_key={USER}")
        metrics = (await server.http.get("/metrics", headers=bearer(USER))).text
    ours = [record for record in caplog.records if not record.name.startswith("httpx")]
    logged = "".join(str(record.__dict__) for record in ours)
    assert "alice" in logged
    assert "persona_key" not in logged + metrics
    assert "alice" not in metrics

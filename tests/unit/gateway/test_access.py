"""Keys: who is let in, where, and that no way of writing a request leads around them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import re
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from gateway.protection.configuration import ConfigurationError
from gateway.protection.keys import KeyStore, parse_keys
from gateway.settings import Settings
from persona_client.cli.app import app as command_line
from tests.unit.gateway.protection_gateway import ADMIN, KEYS, USER, Server, bearer, entry, running

WRONG = "persona_key-of-nobody-at-all-0123456789"


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    async with running(monkeypatch, api_keys=KEYS, cors_origins=("https://a.example",)) as server:
        yield server


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
        ("GET", "/health/"),
        ("GET", "//"),
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
    ["/", "/health", "/health/ready", "/docs", "/openapi.json", "/playground/app.js"],
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


async def test_a_disabled_or_expired_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(timezone.utc)
    for more, says in (
        ({"disabled": True}, "disabled"),
        ({"expires": (now - timedelta(minutes=1)).isoformat()}, "expired"),
        ({"expires": (now + timedelta(minutes=1)).isoformat()}, ""),
    ):
        keys = json.dumps([entry(USER, "alice", **more)])
        async with running(monkeypatch, api_keys=keys) as server:
            response = await server.generate(headers=bearer(USER))
            assert response.status_code == (401 if says else 200)
            assert says in response.text


async def test_the_file_is_followed_and_a_broken_one_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps([entry(USER, "alice")]))
    async with running(monkeypatch, api_keys_file=file) as server:

        async def status(key: str) -> int:
            await server.protection.refresh()
            return int((await server.generate(headers=bearer(key))).status_code)

        assert [await status(USER), await status(ADMIN)] == [200, 401]
        file.write_text(KEYS)
        assert [await status(USER), await status(ADMIN)] == [200, 200]
        for broken in ("[{", '[{"name": "x"}]', f'[{{"name": "x", "sha256": "{WRONG}"}}]'):
            file.write_text(broken)
            assert [await status(USER), await status(ADMIN)] == [200, 200]
        file.unlink()
        assert await status(USER) == 200
        # A list without a key locks all out: it does not open the gateway.
        file.write_text("[]")
        assert [await status(USER), await status(ADMIN)] == [401, 401]
    problems = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(problems) == 4
    assert WRONG not in caplog.text + str([record.__dict__ for record in caplog.records])


async def test_a_change_is_noticed_by_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "keys.json"
    file.write_text("[]")
    async with running(monkeypatch, api_keys_file=file) as server:
        assert (await server.generate(headers=bearer(USER))).status_code == 401
        file.write_text(KEYS)
        for _ in range(1000):
            if (await server.generate(headers=bearer(USER))).status_code == 200:
                break
            await asyncio.sleep(0.1)
        else:
            pytest.fail("the change was not noticed")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}", "valid list"),
        ("[", "not valid JSON, in line 1"),
        ("[" * 100_000, "nested too deeply"),
        ('[{"name": "a b", "role": "user", "sha256": ""}]', "0.name"),
        (json.dumps([entry(USER, "a", "root")]), "'user' or 'admin'"),
        (json.dumps([entry(USER, "a", expires="2030-01-01")]), "0.expires"),
        (json.dumps([entry(USER, "a", expires="2030-01-01T00:00:00")]), "timezone"),
        (json.dumps([entry(USER, "a", requests="many")]), "60/minute"),
        (json.dumps([entry(USER, "a", requests="0/minute")]), "60/minute"),
        (json.dumps([entry(USER, "a", other=1)]), "0.other"),
        (json.dumps([entry(USER, "a"), entry(USER, "b")]), "one key is given twice"),
        (json.dumps([entry(USER, "a"), entry(ADMIN, "a", "admin")]), "different roles"),
        ('[{"name": "a", "name": "b"}]', "a name is given twice"),
    ],
)
def test_a_list_of_keys_that_cannot_be_used_is_refused(text: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        parse_keys(text)


def test_a_hash_of_a_short_key_opens_nothing_and_two_sources_are_refused(tmp_path: Path) -> None:
    store = KeyStore(Settings(api_keys=json.dumps([entry("password", "a")])))
    assert store.required
    assert store.find(b"password") is None
    with pytest.raises(ConfigurationError, match="both set"):
        KeyStore(Settings(api_keys="[]", api_keys_file=tmp_path / "x"))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        KeyStore(Settings(api_keys_file=tmp_path / "x"))


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


@pytest.mark.parametrize("path", ["/api/v1/generate", "/v1/chat/completions", "/api/v1/traits/x"])
async def test_a_browser_of_an_allowed_origin_may_send_a_key(server: Server, path: str) -> None:
    ask = {
        "Origin": "https://a.example",
        "Access-Control-Request-Method": "PUT" if "traits" in path else "POST",
        "Access-Control-Request-Headers": "authorization,x-api-key,content-type",
    }
    preflight = await server.http.options(path, headers=ask)
    assert preflight.status_code == 200
    assert preflight.headers["Access-Control-Allow-Origin"] == "https://a.example"
    allowed = preflight.headers["Access-Control-Allow-Headers"].lower()
    assert "authorization" in allowed
    assert "x-api-key" in allowed
    assert "Access-Control-Allow-Credentials" not in preflight.headers
    other = await server.http.options(path, headers={**ask, "Origin": "https://b.example"})
    assert other.status_code == 400
    assert "Access-Control-Allow-Origin" not in other.headers
    refused = await server.http.post(path, headers={"Origin": "https://a.example"})
    assert refused.status_code == 401
    assert refused.headers["Access-Control-Allow-Origin"] == "https://a.example"


async def test_answers_tell_browsers_and_caches_to_be_careful(server: Server) -> None:
    for response in (
        await server.generate(headers=bearer(USER)),
        await server.generate(),
        await server.http.get("/status", headers=bearer(USER)),
        await server.http.get("/nowhere", headers=bearer(USER)),
    ):
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["X-Frame-Options"] == "DENY"
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert "server" not in response.headers
    page = await server.http.get("/", headers={"Accept": "text/html"})
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    assert page.headers["Cache-Control"] == "no-cache"
    docs = await server.http.get("/docs")
    policy = docs.headers["Content-Security-Policy"]
    # Of all that the CDN has, what the page names may run, and nothing that is not its hash.
    sources = re.findall(r"https:\S+", policy.replace(";", " "))
    assert len(sources) == 2
    for source in sources:
        assert re.fullmatch(
            r"https://cdn\.jsdelivr\.net/npm/[a-z-]+@[\d.]+/[a-z-]+\.(js|css)", source
        )
        assert re.search(rf'"{re.escape(source)}" integrity="sha384-\S{{64}}"', docs.text)
    script = re.search(r"<script>(.+)</script>", docs.text)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    (scripts,) = re.findall(r"script-src ([^;]+)", policy)
    assert scripts.split() == [sources[0], f"'sha256-{digest}'"]


REBOUND = "rebound.example"


@pytest.mark.parametrize(
    ("settings", "server", "host", "status"),
    [
        ({}, "127.0.0.1", REBOUND, 403),
        ({}, "127.0.0.1", f"{REBOUND}:8000", 403),
        ({}, "::1", REBOUND, 403),
        ({}, "::ffff:127.0.0.1", REBOUND, 403),
        ({}, "127.0.0.1", "localhost.rebound.example", 403),
        ({}, "127.0.0.1", "", 403),
        ({}, "127.0.0.1", "127.0.0.1:8000", 200),
        ({}, "127.0.0.1", "[::1]:8000", 200),
        ({}, "127.0.0.1", "LOCALHOST:8000", 200),
        ({}, "127.0.0.1", "app.localhost", 200),
        ({}, "10.0.0.3", REBOUND, 403),
        ({}, "10.0.0.3", "local", 200),
        ({}, "10.0.0.3", "notlocal.example", 403),
        ({}, "10.0.0.3", "svc.cluster.local.example", 403),
        ({}, "10.0.0.3", "10.0.0.3.example", 403),
        ({}, "10.0.0.3", "127.1.rebound.example", 403),
        # Containers are asked by their service's name, probes by the pod's address.
        ({}, "10.0.0.3", "persona-gateway.default.svc:8000", 200),
        ({}, "10.0.0.3", "persona-gateway.default.svc.cluster.local.:8000", 200),
        ({}, "10.0.0.3", "gateway:8000", 200),
        ({}, "10.0.0.3", "10.0.0.3:8000", 200),
        ({}, "10.0.0.3", "Machine.local", 200),
        ({}, "10.0.0.3", "vm.zone.c.project.internal", 200),
        ({"api_keys": KEYS}, "127.0.0.1", REBOUND, 200),
        ({"allowed_hosts": "a.example, b.example"}, "127.0.0.1", "B.example.:443", 200),
        ({"allowed_hosts": "a.example"}, "10.0.0.3", REBOUND, 403),
        ({"allowed_hosts": "a.example"}, "10.0.0.3", "10.0.0.3:8000", 200),
        ({"allowed_hosts": "a.example"}, "10.0.0.3", "persona-gateway.default.svc", 200),
        ({"allowed_hosts": "a.example", "api_keys": KEYS}, "10.0.0.3", REBOUND, 403),
    ],
)
async def test_a_rebound_name_does_not_reach_a_keyless_gateway(
    settings: dict[str, Any], server: str, host: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(monkeypatch, **settings) as gateway:
        url = f"http://[{server}]" if ":" in server else f"http://{server}"
        answer = await gateway.http.get(f"{url}/health", headers={"Host": host})
        assert answer.status_code == status
        if status == 403:
            assert "ALLOWED_HOSTS" in answer.json()["error"]


@pytest.mark.parametrize("names", ["*", "a.example:8000", "http://a.example"])
def test_allowed_hosts_are_names(names: str) -> None:
    with pytest.raises(ValidationError, match="names without ports"):
        Settings(allowed_hosts=(names,))


@pytest.mark.parametrize(
    "broken",
    [
        '[{"name": %s}]' % ("9" * 5000),
        "[" * 100_000,
        '{"a": 1, "a": 1}',
        "\ud800",
        " " * (17 * 2**20),
    ],
    ids=["a long integer", "depth", "a name twice", "a surrogate", "size"],
)
async def test_a_file_of_keys_that_cannot_be_read_does_not_end_the_reading(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.protection.protection._LOOK_SECONDS", 0.01)
    path = tmp_path / "keys.json"
    path.write_text(KEYS)

    async def until(gateway: Server, key: str, status: int, stale: float) -> None:
        async with asyncio.timeout(60):
            while True:
                answer = await gateway.http.get("/metrics", headers=bearer(key))
                is_so = f"persona_gateway_stale_files {stale}" in answer.text or status == 401
                if answer.status_code == status and is_so:
                    return
                await asyncio.sleep(0.01)

    async with running(monkeypatch, api_keys_file=path) as gateway:
        path.write_bytes(broken.encode("utf-8", "surrogatepass"))
        # What was read before stays in force, and the metric says so.
        await until(gateway, USER, 200, 1.0)
        path.write_text(json.dumps([entry(ADMIN, "root", "admin")]))
        await until(gateway, USER, 401, 0.0)
        await until(gateway, ADMIN, 200, 0.0)


async def test_a_defect_in_reading_a_file_does_not_end_the_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys.json"
    path.write_text(KEYS)
    store = KeyStore(Settings(api_keys_file=path))
    assert store.file is not None
    parse = store.file._parse

    def fail(text: str) -> Any:
        raise MemoryError

    monkeypatch.setattr(store.file, "_parse", fail)
    path.write_text("[]")
    store.file.refresh()
    assert store.file.is_stale
    assert store.find(USER.encode()) is not None
    monkeypatch.setattr(store.file, "_parse", parse)
    path.write_text("[ ]")
    store.file.refresh()
    assert not store.file.is_stale
    assert store.find(USER.encode()) is None


async def test_a_file_of_keys_that_comes_back_is_not_stale(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(KEYS)
    store = KeyStore(Settings(api_keys_file=path))
    assert store.file is not None
    path.unlink()
    store.file.refresh()
    assert store.file.is_stale
    path.write_text(KEYS)
    store.file.refresh()
    assert not store.file.is_stale


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


def test_the_command_makes_a_key_whose_entry_lets_it_in() -> None:
    result = CliRunner().invoke(command_line, ["keys", "new", "--name", "bob", "--days", "3"])
    assert result.exit_code == 0, result.output
    key, line = result.stdout.splitlines()
    store = KeyStore(Settings(api_keys=f"[{line}]"))
    found = store.find(key.encode())
    assert found is not None
    assert (found.name, found.role, found.refusal()) == ("bob", "user", "")
    assert key not in line
    assert CliRunner().invoke(command_line, ["keys", "new", "--name", "a b"]).exit_code == 2

"""Lists of keys: what is read of them, what is refused, and how a changed file is followed."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.protection.configuration import ConfigurationError
from gateway.protection.keys import KeyStore, parse_keys
from gateway.settings import Settings
from persona_client.cli.app import app as command_line
from tests.unit.gateway.protection_gateway import (
    ADMIN,
    KEYS,
    USER,
    WRONG,
    Server,
    bearer,
    entry,
    running,
)


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

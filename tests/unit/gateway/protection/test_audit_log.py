"""The audit log: what is written down, what never is, and what happens when it cannot be."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from gateway.ensemble_request import EnsembleRequest, ensemble_request
from gateway.errors import SteeringRefusedError
from gateway.protection.audit import AuditLog
from gateway.protection.configuration import ConfigurationError
from tests.unit.gateway.protection.policies import POLICY, write
from tests.unit.gateway.protection_gateway import ADMIN, KEYS, USER, bearer, running
from triton_models.contract.request import GenerationDefaults


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_steering_refusals_and_changes_are_written_down_without_text(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    policy = write(tmp_path / "policy.json", POLICY)
    log = tmp_path / "audit.log"
    settings = {"api_keys": KEYS, "policy_file": policy, "audit_log": str(log)}
    async with running(monkeypatch, **settings) as server:
        await server.generate(2.0, headers={**bearer(USER), "X-Request-ID": "mine"})
        body = {"prompt": "hi", "trait": "sarcasm", "scalar": 1, "layers": [1], "positions": "all"}
        await server.http.post("/api/v1/generate", json=body, headers=bearer(ADMIN))
        await server.generate(2.0, "maliciousness", headers=bearer(USER))
        await server.generate(0.0, headers=bearer(USER))
        await server.http.delete("/api/v1/traits/sarcasm", headers=bearer(USER))
        await server.generate(2.0)
    first, second, refused, change = lines(log)
    assert first.pop("time")
    assert first.pop("triton_id").startswith("mine/")
    assert first == {
        "event": "generation",
        "request_id": "mine",
        "key": "alice",
        "role": "user",
        "client": "192.0.2.7",
        "route": "/api/v1/generate",
        "traits": ["sarcasm"],
        "scalars": [2.0],
        "layers": None,
        "positions": "all",
        "outcome": "ok",
        "finish_reason": "stop",
        "prompt_tokens": 10,
        "tokens": 5,
    }
    assert (second["key"], second["layers"]) == ("root", [1])
    assert (refused["event"], refused["traits"]) == ("refusal", ["maliciousness"])
    assert (refused["outcome"], refused["key"]) == ("refused", "alice")
    assert (change["event"], change["status"], change["method"]) == ("change", 403, "DELETE")
    text = log.read_text()
    assert "secret" not in text
    assert "persona_key" not in text
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


async def test_text_is_written_down_only_if_that_is_wanted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = tmp_path / "audit.log"
    async with running(monkeypatch, audit_log=str(log), audit_log_text=True) as server:
        await server.generate(2.0)
    (line,) = lines(log)
    assert line["text"] == {"text_input": ["a secret prompt"]}
    assert line["answer"] == "a secret answer"


async def test_the_log_goes_on_in_a_new_file_when_it_has_been_rotated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = tmp_path / "audit.log"
    async with running(monkeypatch, audit_log=str(log)) as server:
        await server.generate(1.0)
        while not log.read_text():
            await asyncio.sleep(0.01)
        log.rename(tmp_path / "audit.log.1")
        await server.generate(2.0)
    assert [line["scalars"] for line in lines(tmp_path / "audit.log.1")] == [[1.0]]
    assert [line["scalars"] for line in lines(log)] == [[2.0]]


async def test_the_log_can_go_to_stdout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(monkeypatch, audit_log="stdout") as server:
        await server.generate(1.0)
    assert json.loads(capsys.readouterr().out)["traits"] == ["sarcasm"]


def test_a_file_that_cannot_be_written_is_said_and_one_that_hangs_loses_lines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ConfigurationError, match="cannot be written"):
        AuditLog(str(tmp_path / "no" / "where"), False)
    monkeypatch.setattr("gateway.protection.audit._MAX_WAITING", 1)
    # A pipe that nobody empties is a disk that hangs.
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    log = AuditLog(str(pipe), False)
    with caplog.at_level(logging.ERROR):
        for _ in range(2000):
            log._write("test", None, {"filling": "x" * 1000})
    assert "the audit log loses lines" in caplog.text
    os.close(reader)


async def test_an_audit_log_that_others_can_read_is_made_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "audit.log"
    log.write_text("")
    log.chmod(0o644)
    async with running(monkeypatch, audit_log=str(log)) as server:
        assert log.stat().st_mode & 0o777 == 0o600
        await server.generate()
    assert len(lines(log)) == 1


def asked(trait: str) -> EnsembleRequest:
    return ensemble_request(
        {"text_input": ["hi"], "trait": [trait], "scalar": [9.0]}, None, GenerationDefaults()
    )


async def test_the_audit_log_goes_on_when_its_folder_is_there_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    log = AuditLog(str(folder / "audit.log"), False)
    refusal = SteeringRefusedError("steering by 'sarcasm' with 9 is not allowed")
    folder.rename(tmp_path / "away")
    log.refused(None, asked("first"), refusal)
    async with asyncio.timeout(60):
        while "the audit log loses lines" not in caplog.text:
            await asyncio.sleep(0.01)
    folder.mkdir()
    log.refused(None, asked("second"), refusal)
    log.close()
    assert [line["traits"] for line in lines(folder / "audit.log")] == [["second"]]


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "x" * 40}])
async def test_changes_without_a_valid_key_are_written_down(
    method: str, headers: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "audit.log"
    async with running(monkeypatch, api_keys=KEYS, audit_log=str(log)) as server:
        answer = await server.http.request(method, "/api/v1/traits/sarcasm", headers=headers)
        assert answer.status_code == 401
    (line,) = lines(log)
    assert (line["event"], line["method"], line["status"]) == ("change", method, 401)
    assert (line["key"], line["client"]) == ("", "192.0.2.7")


NAME = "t" * 1_000_000
MAX_NAME = "t" * 256


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/generate", {"prompt": "x", "trait": NAME, "scalar": 99}),
        ("/api/v1/generate", {"prompt": "x", "trait": MAX_NAME, "scalar": 99}),
        ("/api/v1/generate", {"prompt": "x", "trait": "t", "scalar": 1, "monitor": [NAME]}),
        ("/api/v1/generate", {"prompt": "x", "trait": "t", "scalar": 1, NAME: 1}),
        ("/api/v1/generate", {"prompt": "x", "trait": "t", "scalar": 1, "positions": NAME}),
        ("/api/v1/sweep", {"prompt": "x", "trait": NAME, "scalars": [1]}),
        ("/api/v1/compare", {"prompt": "x", "steerings": [{"traits": [], "label": NAME}]}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "model": NAME}),
        (
            "/v1/chat/completions",
            {
                "messages": [{"role": "user", "content": "x"}],
                "model": f"persona:{MAX_NAME}=99",
            },
        ),
        (
            "/v1/chat/completions",
            {"model": "persona", "messages": [{"role": "user", "content": [{"type": NAME}]}]},
        ),
    ],
)
async def test_what_is_refused_is_neither_repeated_nor_written_down_at_length(
    path: str, body: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / "policy.json"
    rule = {"user": [-1, 1], "admin": None}
    policy.write_text(json.dumps({"default": rule, "traits": {}}))
    log = tmp_path / "audit.log"
    async with running(monkeypatch, policy_file=policy, audit_log=str(log)) as server:
        answer = await server.http.post(path, json=body)
    assert 400 <= answer.status_code < 500
    assert len(answer.content) < 10_000
    assert log.stat().st_size < 10_000

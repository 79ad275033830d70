"""The policy: what each role may steer, on every way that leads to the model; and the audit log."""

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
from gateway.protection.policy import parse_policy
from launcher.settings import ROOT
from tests.unit.gateway.protection_gateway import ADMIN, KEYS, USER, bearer, running
from triton_models.contract.request import GenerationDefaults
from triton_models.settings import DATA_ROOT

POLICY: dict[str, Any] = {
    "default": {"user": [-4, 4], "admin": None},
    "traits": {"maliciousness": {"user": [-5, 0], "admin": [-10, 10]}},
}
OPENAI: dict[str, Any] = {"model": "persona", "messages": [{"role": "user", "content": "hi"}]}
EXAMPLE = ROOT / "deploy" / "policy.example.json"


def write(path: Path, policy: Any) -> Path:
    path.write_text(json.dumps(policy))
    return path


def steering(*pairs: tuple[str, float]) -> dict[str, Any]:
    return {"traits": [{"name": name, "scalar": scalar} for name, scalar in pairs]}


def check(role: Any, *pairs: tuple[str, float]) -> bool:
    values: dict[str, list[Any]] = {
        "trait": [name for name, _ in pairs],
        "scalar": [scalar for _, scalar in pairs],
    }
    try:
        parse_policy(json.dumps(POLICY)).check(role, values)
    except SteeringRefusedError:
        return False
    return True


@pytest.mark.parametrize(
    ("pairs", "user", "admin"),
    [
        ([], True, True),
        ([("maliciousness", 0.0)], True, True),
        ([("maliciousness", -5.0)], True, True),
        ([("maliciousness", -5.1)], False, True),
        ([("maliciousness", 1e-9)], False, True),
        ([("maliciousness", 10.5)], False, False),
        ([("maliciousness", float("nan"))], False, False),
        ([("maliciousness", -3.0), ("maliciousness", -3.0)], False, True),
        ([("maliciousness", -3.0), ("maliciousness", 3.0)], False, True),
        ([("maliciousness", 6.0), ("maliciousness", 6.0)], False, False),
        # In 32 bits this adds up to 2, in 64 to 0.
        ([("maliciousness", x) for x in (16777219.0, -16777217.0, -2.0)], False, False),
        ([("sarcasm", 3.0), ("sarcasm", 3.0)], False, True),
        ([("sarcasm", 3.0), ("maliciousness", 3.0)], False, True),
        ([("sarcasm", 3.0), ("maliciousness", -3.0)], True, True),
        # Another name is another trait: the engine does not know this one.
        ([("Maliciousness", 3.0)], True, True),
    ],
)
def test_scalars_and_their_sum_must_be_in_the_range_of_the_role(
    pairs: list[tuple[str, float]], user: bool, admin: bool
) -> None:
    assert (check("user", *pairs), check("admin", *pairs)) == (user, admin)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}", "default: Field required"),
        ('{"default": {"user": null}, "traits": {}}', "default.admin: Field required"),
        ('{"default": {"user": [1], "admin": null}, "traits": {}}', "default.user"),
        ('{"default": {"user": [2, 1], "admin": null}, "traits": {}}', "least scalar is greater"),
        ('{"default": {"user": [NaN, 1], "admin": null}, "traits": {}}', "finite"),
        ('{"default": {"user": null, "admin": null}, "traits": {"a": 1, "a": 2}}', "twice"),
        ('{"default": {"user": null, "admin": null, "guest": null}, "traits": {}}', "guest"),
    ],
)
def test_a_policy_that_cannot_be_used_is_refused(text: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        parse_policy(text)


def test_the_example_forbids_users_to_amplify_harm_and_names_traits_that_there_are() -> None:
    policy = parse_policy(EXAMPLE.read_text())
    assert set(policy.traits) == {"sexism", "racism", "maliciousness", "hallucination"}
    for trait in policy.traits:
        assert (DATA_ROOT / "vectors" / f"{trait}.json").exists()
        with pytest.raises(SteeringRefusedError):
            policy.check("user", {"trait": [trait], "scalar": [0.5]})
        policy.check("user", {"trait": [trait], "scalar": [-2.0]})
        policy.check("admin", {"trait": [trait], "scalar": [2.0]})
    policy.check("user", {"trait": ["sarcasm"], "scalar": [2.0]})


WAYS: list[tuple[str, dict[str, Any]]] = [
    ("/api/v1/generate", {"prompt": "hi", "trait": "maliciousness", "scalar": 2}),
    ("/api/v1/generate", {"prompt": "hi", "trait": "maliciousness", "scalar": 2, "stream": True}),
    ("/api/v1/sweep", {"prompt": "hi", "trait": "maliciousness", "scalars": [-1, 0, 2]}),
    (
        "/api/v1/compare",
        {"prompt": "hi", "steerings": [steering(("sarcasm", 1)), steering(("maliciousness", 2))]},
    ),
    (
        "/api/v1/compare",
        {
            "prompt": "hi",
            "stream": True,
            "steerings": [steering(("sarcasm", 1), ("maliciousness", 2))],
        },
    ),
    ("/v1/chat/completions", {**OPENAI, "model": "persona:maliciousness=2"}),
    ("/v1/chat/completions", {**OPENAI, "model": "persona:sarcasm=1, maliciousness = 2"}),
    ("/v1/chat/completions", {**OPENAI, "steering": steering(("maliciousness", 2))}),
    (
        "/v1/chat/completions",
        {**OPENAI, "n": 2, "stream": True, "steering": steering(*[("maliciousness", 1)] * 2)},
    ),
    ("/v1/completions", {"model": "persona:maliciousness=2", "prompt": ["hi", "ho"]}),
]


@pytest.mark.parametrize(("path", "body"), WAYS)
async def test_every_way_of_steering_is_refused_before_anything_reaches_triton(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str, body: dict[str, Any]
) -> None:
    policy = write(tmp_path / "policy.json", POLICY)
    async with running(monkeypatch, api_keys=KEYS, policy_file=policy) as server:
        refused = await server.http.post(path, json=body, headers=bearer(USER))
        assert refused.status_code == 403, refused.text
        error = refused.json()["error"]
        message = error["message"] if path.startswith("/v1") else error
        for part in ("'maliciousness'", "from -5 to 0", "the role user"):
            assert part in message
        assert server.asked == []
        allowed = await server.http.post(path, json=body, headers=bearer(ADMIN))
        assert allowed.status_code == 200, allowed.text
        assert server.asked


async def test_without_keys_everybody_is_a_user_and_monitoring_is_free(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    policy = write(tmp_path / "policy.json", POLICY)
    async with running(monkeypatch, policy_file=policy) as server:
        assert (await server.generate(1, "maliciousness", headers=bearer(ADMIN))).status_code == 403
        read = {"prompt": "hi", "monitor": ["maliciousness"]}
        answer = await server.http.post("/api/v1/generate/baseline", json=read)
        assert answer.status_code == 200


async def test_the_policy_is_followed_a_broken_one_stays_and_strange_traits_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = write(tmp_path / "policy.json", POLICY)
    async with running(monkeypatch, policy_file=file, host="127.0.0.1") as server:
        assert "warnings" not in (await server.http.get("/status")).json()
        assert (await server.generate(1, "maliciousness")).status_code == 403
        file.write_text("{")
        await server.protection.refresh()
        assert (await server.generate(1, "maliciousness")).status_code == 403
        write(file, {**POLICY, "traits": {"malicousness": POLICY["traits"]["maliciousness"]}})
        await server.protection.refresh()
        assert (await server.generate(1, "maliciousness")).status_code == 200
        (warning,) = (await server.http.get("/status")).json()["warnings"]
        assert "malicousness" in warning
    assert "what was read before stays in force" in caplog.text


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
    refusal = SteeringRefusedError("sarcasm", 9.0, (0.0, 1.0), "user")
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

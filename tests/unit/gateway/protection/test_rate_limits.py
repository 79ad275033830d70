"""Rate limits: whose budget is counted, by what, and what whoever has spent it is told."""

from __future__ import annotations

import json
import logging
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from gateway.caller import Caller
from gateway.protection.rate_limits import RateLimiter
from gateway.request_record import GenerationRecord, RequestRecord
from gateway.settings import Settings
from launcher.loopback import free_ports
from tests.unit.gateway.protection_gateway import (
    ADMIN,
    ANSWER_TOKENS,
    PROMPT_TOKENS,
    USER,
    Server,
    bearer,
    entry,
    running,
)
from triton_models.grpc_messages import TritonChunk

OPENAI: dict[str, Any] = {"model": "persona", "messages": [{"role": "user", "content": "hi"}]}


async def test_without_limits_nothing_is_counted_or_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as server:
        answer = await server.generate()
    assert not [name for name in answer.headers if name.startswith("x-ratelimit")]


async def test_requests_are_counted_by_key_and_reading_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = json.dumps([entry(USER, "alice"), entry(ADMIN, "root", "admin")])
    async with running(monkeypatch, api_keys=keys, rate_limit_requests="2/minute") as server:
        for remaining in ("1", "0"):
            answer = await server.generate(headers=bearer(USER))
            assert answer.status_code == 200
            assert answer.headers["x-ratelimit-limit-requests"] == "2"
            assert answer.headers["x-ratelimit-remaining-requests"] == remaining
            assert 0 < int(answer.headers["x-ratelimit-reset-requests"].rstrip("s")) <= 60
        refused = await server.generate(headers=bearer(USER))
        assert refused.status_code == 429
        assert 0 < int(refused.headers["Retry-After"]) <= 60
        body = refused.json()
        assert body["code"] == "rate_limited"
        assert "the API key 'alice' has spent its requests, 2 per 1 minute" in body["error"]
        openai = await server.http.post("/v1/chat/completions", json=OPENAI, headers=bearer(USER))
        assert openai.status_code == 429
        assert openai.json()["error"]["type"] == "rate_limit_error"
        assert (await server.http.get("/status", headers=bearer(USER))).status_code == 200
        assert (await server.generate(headers=bearer(ADMIN))).status_code == 200
    assert len(server.asked) == 3


async def test_tokens_are_charged_when_they_have_come_prompts_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    each = PROMPT_TOKENS + ANSWER_TOKENS
    async with running(monkeypatch, rate_limit_tokens=f"{each + 1}/minute") as server:
        left = [(await server.generate()).headers["x-ratelimit-remaining-tokens"] for _ in range(2)]
        assert left == [str(each + 1), "1"]
        refused = await server.generate()
        assert refused.status_code == 429
        assert f"this address has spent its tokens, {each + 1} per 1 minute" in refused.text
        assert refused.headers["x-ratelimit-remaining-tokens"] == "0"
    assert len(server.asked) == 2


async def test_all_answers_of_a_comparison_are_charged(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, rate_limit_tokens="1000/minute") as server:
        sweep = {"prompt": "hi", "trait": "sarcasm", "scalars": [-1, 0, 1, 2]}
        await server.http.post("/api/v1/sweep", json=sweep)
        answer = await server.generate()
    spent = 4 * (PROMPT_TOKENS + ANSWER_TOKENS)
    assert answer.headers["x-ratelimit-remaining-tokens"] == str(1000 - spent)


@pytest.mark.parametrize("scalars", [[1], [-1, 0, 1, 2]])
async def test_a_prompt_that_the_model_refuses_is_charged_once(
    scalars: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = TritonChunk(finish_reason="error", error="too long", error_code="invalid_argument")

    async with running(monkeypatch, rate_limit_tokens="1000/minute", answer=refusal) as server:
        sweep = {"prompt": "x" * 400, "trait": "sarcasm", "scalars": scalars}
        answer = await server.http.post("/api/v1/sweep", json=sweep)
        assert answer.status_code == 400
        await server.protection.limiter.close()
        answer = await server.generate()
    assert answer.headers["x-ratelimit-remaining-tokens"] == str(1000 - 100)


async def test_a_prompt_given_up_before_its_first_token_is_charged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caller = Caller(address="192.0.2.7")
    async with running(monkeypatch, rate_limit_tokens="1000/minute") as server:
        limiter = server.protection.limiter
        request = RequestRecord("id", {"method": "POST", "path": "/"}, caller)
        given_up = GenerationRecord("a", request, prompt_chars=400, given_up=True)
        request.generations.append(given_up)
        limiter.request_ended(request)
        limiter.tokens_came_late(given_up, 90, 3)
        limiter.request_ended(request)
        await limiter.close()
        (standing,) = await limiter.take(caller)
    assert standing.remaining == 1000 - 100 - 3


@pytest.mark.parametrize("code", ["resource_exhausted", "unavailable"])
async def test_a_prompt_that_the_model_has_no_time_for_is_free(
    code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = TritonChunk(finish_reason="error", error="too much to do", error_code=code)
    async with running(monkeypatch, rate_limit_tokens="1000/minute", answer=failure) as server:
        for _ in range(2):
            answer = await server.generate()
            assert answer.headers["x-ratelimit-remaining-tokens"] == "1000"
            await server.protection.limiter.close()


async def test_a_key_can_have_limits_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = json.dumps(
        [
            entry(USER, "alice", requests="unlimited"),
            entry(ADMIN, "root", "admin", requests="1/hour", tokens="1/hour"),
        ]
    )
    async with running(monkeypatch, api_keys=keys, rate_limit_requests="1/minute") as server:
        for _ in range(3):
            assert (await server.generate(headers=bearer(USER))).status_code == 200
        answers = [await server.generate(headers=bearer(ADMIN)) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert "tokens" in answers[1].text or "requests" in answers[1].text


async def test_refused_keys_and_preflights_spend_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = json.dumps([entry(USER, "alice")])
    async with running(monkeypatch, api_keys=keys, rate_limit_requests="1/minute") as server:
        assert (await server.generate()).status_code == 401
        assert (await server.generate(headers=bearer(USER))).status_code == 200


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::FFFF:c000:207", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::"),
    ],
)
def test_an_ipv4_address_is_counted_as_one_on_ipv6_sockets_too(address: str, counted: str) -> None:
    assert Caller(address=address).counted_as == ("address", counted)


def test_a_client_cannot_change_the_address_it_is_counted_by() -> None:
    def who(address: str) -> tuple[str, str]:
        return Caller(address=address).counted_as

    assert who("192.0.2.1") != who("192.0.2.2")
    assert who("2001:db8::1") == who("2001:db8::ffff:2") != who("2001:db8:0:1::1")
    assert who("") == ("address", "")
    assert Caller(key_name="x", address="192.0.2.1").counted_as == ("key", "x")


@pytest.mark.parametrize("value", ["*", "proxy.example", "10.0.0.0/99"])
def test_proxies_are_addresses_and_limits_are_limits(value: str) -> None:
    with pytest.raises(ValidationError):
        Settings(trusted_proxies=(value,))
    with pytest.raises(ValidationError):
        Settings(rate_limit_tokens=value)


@pytest.mark.parametrize("value", ["10/second;100/hour", "10/second, 100/hour", "1/day|2/day"])
def test_several_limits_in_one_are_refused_rather_than_one_of_them_taken(value: str) -> None:
    with pytest.raises(ValidationError, match="give one limit, not 2"):
        Settings(rate_limit_requests=value)


async def test_several_workers_that_count_apart_are_warned_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = {"workers": 2, "rate_limit_requests": "1/minute", "host": "127.0.0.1"}
    async with running(monkeypatch, **settings) as server:
        (warning,) = (await server.http.get("/status")).json()["warnings"]
    assert "each of 2 workers counts rate limits for itself" in warning


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("there is no redis-server: apt-get install redis-server")
    (port,) = free_ports(1)
    command = [
        program,
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--dir",
        str(tmp_path),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.wait()


async def test_gateways_share_a_redis_and_go_on_without_it(
    monkeypatch: pytest.MonkeyPatch,
    redis: tuple[str, subprocess.Popen[bytes]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Only how long to wait for one that hangs, and this one goes away.
    monkeypatch.setattr("gateway.protection.rate_limits._STORAGE_SECONDS", 60.0)
    url, process = redis
    settings = {"rate_limit_tokens": "16/minute", "rate_limit_storage": SecretStr(url)}
    async with running(monkeypatch, **settings) as one, running(monkeypatch, **settings) as other:

        async def left(server: Server) -> str:
            for each in (one, other):
                await each.protection.limiter.close()  # what has been used is charged
            answer = await server.generate()
            return str(answer.headers.get("x-ratelimit-remaining-tokens"))

        assert [await left(one), await left(other), await left(one)] == ["16", "1", "0"]
        assert (await other.generate()).status_code == 429
        process.kill()
        process.wait()
        with caplog.at_level(logging.ERROR):
            assert (await other.generate()).status_code == 200
    assert "rate limits cannot be counted" in caplog.text


async def test_the_storage_s_password_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings(
        rate_limit_storage=SecretStr("redis://:s3cret@127.0.0.1:9"), rate_limit_requests="1/minute"
    )
    with caplog.at_level(logging.DEBUG):
        assert await RateLimiter(settings).take(Caller(address="x")) == []
    assert "s3cret" not in repr(settings) + "".join(str(each.__dict__) for each in caplog.records)

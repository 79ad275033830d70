"""The soak's own judgement: what it calls a loss, an excuse and a leak."""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
from pathlib import Path
from typing import Any

import pytest

from benchmarks.soak.bad_input import all_bad_input, broken_keys, chooser
from benchmarks.soak.faults import STUB_KILLED, plan
from benchmarks.soak.ledger import GRACE_SECONDS, Entry, Fault, Ledger
from benchmarks.soak.processes import TRITON, Holding, Process, descendants, holding, role_of
from benchmarks.soak.report import Report
from benchmarks.soak.verdicts import AnswerKind, Expected, Outcome, Verdict, judge
from benchmarks.soak.watch import MEMORY_ALLOWED, ProcessSample, fitted_growth, judged_growth
from benchmarks.soak.wire import Reply, WireCall, exchange
from gateway.protection.configuration import ConfigurationError
from gateway.protection.keys import parse_keys

GENERATED = Expected(AnswerKind.GENERATED)
STREAMED = Expected(AnswerKind.GENERATED, streamed=True)
CHAT_STREAMED = Expected(AnswerKind.CHAT, streamed=True)
COMPARED = Expected(AnswerKind.COMPARED)
ANSWER: dict[str, Any] = {"success": True, "response": "Hi", "tokens_generated": 1}
CHUNK = 'event: chunk\ndata: {"text": "Hi", "tokens_generated": 1}\n\n'
DONE = f"event: done\ndata: {json.dumps(ANSWER)}\n\n"
ERROR = 'event: error\ndata: {"success": false, "error": "away", "code": "unavailable"}\n\n'
PIECE = 'data: {"choices": [{"index": 0, "delta": {"content": "Hi"}}]}\n\n'


def reply(body: Any, status: int = 200, *, whole: bool = True, **headers: str) -> Reply:
    text = body if isinstance(body, str) else json.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, named, bytearray(text.encode()), whole)


def error(status: int, code: str, **headers: str) -> Reply:
    body = {"success": False, "error": "no", "code": code, "request_id": "id"}
    return reply(body, status, whole=True, **headers)


@pytest.mark.parametrize(
    ("answer", "expected", "outcome"),
    [
        (reply(ANSWER), GENERATED, Outcome.ANSWERED),
        (reply({**ANSWER, "tokens_generated": 0}), GENERATED, Outcome.LOST),
        (reply("<html>"), GENERATED, Outcome.LOST),
        (reply(CHUNK + DONE), STREAMED, Outcome.ANSWERED),
        (reply(": still here\n\n" + CHUNK + DONE), STREAMED, Outcome.ANSWERED),
        (reply(CHUNK + ERROR), STREAMED, Outcome.FAILED),
        (reply(CHUNK), STREAMED, Outcome.LOST),
        (reply(CHUNK + DONE, whole=False), STREAMED, Outcome.LOST),
        (reply(CHUNK + CHUNK + DONE), STREAMED, Outcome.LOST),
        (reply(PIECE + "data: [DONE]\n\n"), CHAT_STREAMED, Outcome.ANSWERED),
        (reply(PIECE), CHAT_STREAMED, Outcome.LOST),
        (reply('data: {"error": {"code": "x"}}\n\n'), CHAT_STREAMED, Outcome.FAILED),
        (
            reply({"success": False, "answers": [{"success": False, "error": "away"}]}),
            COMPARED,
            Outcome.FAILED,
        ),
        (error(503, "unavailable"), GENERATED, Outcome.FAILED),
        (error(500, "internal"), GENERATED, Outcome.FAILED),
        (reply("Internal Server Error", 500), GENERATED, Outcome.LOST),
        (reply({"detail": "x"}, 500), GENERATED, Outcome.LOST),
        (
            reply("Traceback (most recent call last):", 400),
            Expected(malformed=True),
            Outcome.LOST,
        ),
        (error(429, "resource_exhausted", retry_after="1"), GENERATED, Outcome.BUSY),
        (error(429, "resource_exhausted"), GENERATED, Outcome.LOST),
        (error(400, "invalid_argument"), GENERATED, Outcome.LOST),
        (
            error(400, "invalid_argument"),
            Expected(statuses=frozenset({400})),
            Outcome.REFUSED,
        ),
        (Reply(), GENERATED, Outcome.LOST),
        (Reply(), Expected(malformed=True), Outcome.REFUSED),
        (reply("Invalid HTTP", 400), Expected(malformed=True), Outcome.REFUSED),
    ],
)
def test_what_an_answer_is(answer: Reply, expected: Expected, outcome: Outcome) -> None:
    assert judge(answer, expected, "id").outcome is outcome


def test_an_error_names_the_request() -> None:
    assert judge(error(503, "unavailable"), GENERATED, "another").outcome is Outcome.LOST


def failure(began: float, ended: float, gateway: str = "first", *, broken: bool = False) -> Entry:
    return Entry("id", "ask", gateway, began, ended, "503", broken)


@pytest.mark.parametrize(
    ("fault", "entry", "lost"),
    [
        (Fault("kill", "", 10, 20), failure(12, 13), 0),
        (Fault("kill", "", 10, 20), failure(5, 11), 0),
        (Fault("kill", "", 10, 20), failure(5, 9), 1),
        (Fault("kill", "", 10, 20), failure(20 + GRACE_SECONDS + 1, 40), 1),
        (Fault("kill", "", 10), failure(500, 501), 0),
        (Fault("kill", "", 10, 20), failure(12, 13, broken=True), 1),
        (Fault("restart", "second", 10, 20), failure(12, 13, "second", broken=True), 0),
        (Fault("restart", "second", 10, 20), failure(12, 13), 1),
    ],
)
def test_only_what_a_fault_can_have_done_is_excused(fault: Fault, entry: Entry, lost: int) -> None:
    ledger = Ledger(faults=[fault])
    ledger.record(entry, Verdict(Outcome.FAILED))
    ledger.settle()
    assert len(ledger.losses) == lost
    assert ledger.of(Outcome.LOST) == lost
    assert ledger.total == 1
    assert Report("", ledger).sound == (not lost)


def holding_of(memory: int = 0, descriptors: int = 0, threads: int = 0) -> Holding:
    return Holding(memory, memory, descriptors, threads)


def samples(seconds: int, **per_second: int) -> list[ProcessSample]:
    return [
        ProcessSample(now, holding_of(**{name: now * each for name, each in per_second.items()}))
        for now in range(seconds)
    ]


def test_a_line_is_fitted_through_what_wavers() -> None:
    wavering = [ProcessSample(now, holding_of(now * 1000 + now % 2 * 5000)) for now in range(100)]
    growth = fitted_growth(wavering, lambda held: held.proportional)
    assert growth == pytest.approx(99_000, rel=0.05)


@pytest.mark.parametrize(
    ("per_second", "leaks"),
    [
        ({"memory": 3 * MEMORY_ALLOWED // 200}, "memory"),
        ({"descriptors": 1}, "descriptors"),
        ({"threads": 1}, "threads"),
        ({"memory": 1000}, ""),
    ],
)
def test_what_grows_in_the_second_half_leaks(per_second: dict[str, int], leaks: str) -> None:
    growth = judged_growth("gateway", 1, samples(300, **per_second))
    assert growth.judged
    assert [leak.split()[0] for leak in growth.leaks] == ([leaks] if leaks else [])


def test_what_grows_at_first_does_not_leak() -> None:
    settling = [ProcessSample(now, holding_of(min(now, 60) * 2**20)) for now in range(300)]
    assert not judged_growth("gateway", 1, settling).leaks


def test_what_jumps_once_does_not_leak_and_what_climbs_in_steps_does() -> None:
    jump = [ProcessSample(now, holding_of((now > 210) * 2**27)) for now in range(300)]
    steps = [ProcessSample(now, holding_of(now // 20 * 2**23)) for now in range(300)]
    assert not judged_growth("gateway", 1, jump).leaks
    assert judged_growth("gateway", 1, steps).leaks


def test_triton_may_keep_the_threads_of_each_step_that_died_and_no_more() -> None:
    deaths = [170.0, 200.0, 230.0]
    kept = [
        ProcessSample(now, holding_of(threads=35 * sum(died <= now for died in deaths)))
        for now in range(300)
    ]
    assert not judged_growth(TRITON, 1, kept, deaths).leaks
    assert judged_growth(TRITON, 1, kept, deaths[:1]).leaks
    assert judged_growth(TRITON, 1, kept).leaks


def test_of_a_short_life_nothing_is_said() -> None:
    growth = judged_growth("gateway", 1, samples(20, descriptors=100))
    assert (growth.judged, growth.leaks) == (False, [])


def test_faults_are_planned_from_the_seed_and_leave_a_calm_end() -> None:
    planned = plan(3600, random.Random(1))
    assert planned == plan(3600, random.Random(1)) != plan(3600, random.Random(2))
    assert [each.at for each in planned] == sorted(each.at for each in planned)
    assert max(each.at for each in planned) < 0.8 * 3600
    assert sum(each.kind == STUB_KILLED for each in planned) == 16
    assert len({each.kind for each in plan(60, random.Random(1))}) == 3


def test_all_bad_input_is_sent_before_any_is_sent_again() -> None:
    inputs = all_bad_input("k" * 40, "a" * 40)
    choose, pick = chooser(inputs), random.Random(0)
    assert {choose(pick).name for _ in inputs} == {each.name for each in inputs}
    assert len({each.name for each in inputs}) == len(inputs)
    assert max(len(each.data) for each in inputs) < 2_000_000


def test_the_files_of_keys_are_all_broken() -> None:
    for text in broken_keys().values():
        with pytest.raises((ConfigurationError, ValueError)):
            parse_keys(text)


@pytest.mark.parametrize(
    ("sent", "whole", "body"),
    [
        (b"content-length: 2\r\n\r\nHi", True, b"Hi"),
        (b"content-length: 3\r\n\r\nHi", False, b""),
        (b"transfer-encoding: chunked\r\n\r\n2\r\nHi\r\n0\r\n\r\n", True, b"Hi"),
        (b"transfer-encoding: chunked\r\n\r\n2\r\nHi\r\n", False, b"Hi"),
        (b"transfer-encoding: chunked\r\n\r\n2\r\nH", False, b""),
    ],
)
async def test_an_answer_that_is_cut_short_is_seen_to_be(
    sent: bytes, whole: bool, body: bytes
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n" + sent)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        answer = await exchange(port, WireCall("GET", "/", {}))
    assert (answer.status, answer.whole, bytes(answer.body)) == (200, whole, body)


def test_what_this_process_holds_is_seen() -> None:
    [this] = [each for each in descendants(os.getpid()) if each.pid == os.getpid()]
    assert this.alive
    before = holding(this)
    with socket.socket():
        after = holding(this)
    assert before
    assert after
    assert after.descriptors == before.descriptors + 1
    assert after.resident > 2**20


@pytest.mark.parametrize(
    ("command", "role"),
    [
        ("python -m launcher", "supervisor"),
        ("/x/python -m gateway", "second gateway"),
        ("/x/bin/tritonserver --model-repository=/r", "tritonserver"),
        (
            "/b/triton_python_backend_stub /r/model_repository/tokenizer/1/model.py persona_1",
            "stub of tokenizer",
        ),
        ("/x/python -c from multiprocessing.spawn import spawn_main", "second gateway's worker"),
        ("sleep 1", ""),
    ],
)
def test_what_processes_are_called(command: str, role: str) -> None:
    process = Process(1, 1, tuple(command.split()), 0)
    assert role_of(process, "second ").role == role


def test_a_report_lists_what_is_wrong(tmp_path: Path) -> None:
    ledger = Ledger()
    ledger.record(failure(1, 2), Verdict(Outcome.LOST))
    report = Report("title", ledger, leaks=["gateway: threads"], miscounts=["a: +1"])
    text = report.markdown()
    assert "- id ask first 503" in text
    assert "- gateway: threads" in text
    assert "- a: +1" in text
    assert "**Not sound.**" in text

"""A call that fails for a moment is made again: when, how often, and until when."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from gateway.http.server_sent_events import format_event
from persona_client import AsyncPersonaClient, PersonaClient, errors
from persona_client.retries import Attempts, RetryPolicy

DONE: dict[str, Any] = {
    "success": True,
    "response": "Hello",
    "trait": None,
    "scalar": 0.0,
    "tokens_generated": 2,
    "error": None,
}
STREAM = format_event("chunk", {"text": "Hello", "tokens_generated": 2}) + format_event(
    "done", DONE
)


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


def busy(retry_after: float | None = None) -> errors.PersonaError:
    error = errors.OverloadedError("full")
    error.retry_after = retry_after
    return error


def test_pauses_double_and_a_part_of_each_is_drawn() -> None:
    for draw, expected in ((0.0, [0.2, 0.4, 0.8]), (1.0, [0.1, 0.2, 0.4])):
        attempts = Attempts(RetryPolicy(3, 60), Clock(), partial(float, draw))
        assert [attempts.pause_after(busy()) for _ in range(3)] == pytest.approx(expected)


def test_pauses_have_a_limit() -> None:
    attempts = Attempts(RetryPolicy(50, 1e6), Clock(), lambda: 0.0)
    assert max(attempts.pause_after(busy()) for _ in range(50)) == 8.0


def test_the_server_s_suggestion_is_the_least() -> None:
    attempts = Attempts(RetryPolicy(3, 60), Clock(), lambda: 0.0)
    assert attempts.pause_after(busy(retry_after=2.0)) == 2.0


def test_the_last_error_is_raised_when_retries_are_used_up() -> None:
    attempts = Attempts(RetryPolicy(1, 60), Clock())
    attempts.pause_after(busy())
    last = busy()
    with pytest.raises(errors.OverloadedError) as raised:
        attempts.pause_after(last)
    assert raised.value is last


def test_no_attempt_begins_past_the_deadline() -> None:
    clock = Clock()
    attempts = Attempts(RetryPolicy(9, 10), clock)
    clock.time = 9.0
    assert attempts.seconds_left() == 1.0
    with pytest.raises(errors.OverloadedError):
        attempts.pause_after(busy(retry_after=2.0))


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidRequestError("no"),
        errors.NotFoundError("no"),
        errors.ServerError("no"),
        errors.ConnectionFailedError("silent for too long"),
    ],
)
def test_what_would_fail_again_is_not_tried_again(error: errors.PersonaError) -> None:
    with pytest.raises(type(error)):
        Attempts(RetryPolicy(9, 60), Clock()).pause_after(error)


def test_a_policy_that_makes_no_sense_is_refused() -> None:
    for retries, deadline in ((-1, 60), (1, 0)):
        with pytest.raises(ValueError, match="must"):
            RetryPolicy(retries, deadline)


Behaviour = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """A real HTTP server that does what it is told, one thing for each request."""

    def __init__(self, *behaviours: Behaviour) -> None:
        self.requests: list[str] = []
        self._behaviours = list(behaviours)
        server = self

        class Handler(BaseHTTPRequestHandler):
            def _serve(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                server.requests.append(self.command)
                last = len(server._behaviours) == 1
                (server._behaviours[0] if last else server._behaviours.pop(0))(self)

            do_GET = do_POST = do_DELETE = _serve  # noqa: N815

            def log_message(self, *arguments: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Server:
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._http.shutdown()
        self._http.server_close()


def answers(content: bytes, status: int = 200, **headers: str) -> Behaviour:
    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return behave


def refuses(status: int, retry_after: str = "0") -> Behaviour:
    body = json.dumps({"error": "not now", "code": "x"}).encode()
    return answers(body, status, Retry_After=retry_after)


def hangs_up(content: bytes = b"") -> Behaviour:
    """Breaks the connection, after a part of an answer if there is one."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        if content:
            handler.send_response(200)
            handler.send_header("Content-Length", "100000")
            handler.end_headers()
            handler.wfile.write(content)
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_RDWR)
        handler.close_connection = True

    return behave


WHOLE = answers(json.dumps(DONE).encode())


@pytest.mark.parametrize("failure", [refuses(429), refuses(503), hangs_up()])
def test_a_call_that_fails_twice_succeeds_at_the_third_attempt(failure: Behaviour) -> None:
    with Server(failure, failure, WHOLE) as server, PersonaClient(server.url) as client:
        assert client.baseline("hi").response == "Hello"
        assert len(server.requests) == 3


@pytest.mark.parametrize("failure", [refuses(429), refuses(503), hangs_up()])
def test_a_stream_that_fails_before_its_first_piece_begins_again(failure: Behaviour) -> None:
    with Server(failure, answers(STREAM)) as server, PersonaClient(server.url) as client:
        with client.stream("hi") as stream:
            assert [chunk.text for chunk in stream] == ["Hello"]
        assert stream.completion.response == "Hello"
        assert len(server.requests) == 2


def test_a_stream_that_breaks_after_its_first_piece_does_not() -> None:
    first_piece = format_event("chunk", {"text": "Hel", "tokens_generated": 1})
    with Server(hangs_up(first_piece), answers(STREAM)) as server:
        with PersonaClient(server.url) as client, client.stream("hi") as stream:
            pieces = iter(stream)
            assert next(pieces).text == "Hel"
            with pytest.raises(errors.ConnectionFailedError):
                next(pieces)
        assert len(server.requests) == 1


async def test_the_async_client_does_the_same() -> None:
    with Server(refuses(503), WHOLE, hangs_up(), answers(STREAM)) as server:
        async with AsyncPersonaClient(server.url) as client:
            assert (await client.baseline("hi")).response == "Hello"
            async with client.stream("hi") as stream:
                assert [chunk.text async for chunk in stream] == ["Hello"]
        assert len(server.requests) == 4


@pytest.fixture
def full() -> Iterator[Server]:
    with Server(refuses(429)) as server:
        yield server


def test_retries_can_be_turned_off_or_run_out(full: Server) -> None:
    for retries in (0, 1):
        full.requests.clear()
        with PersonaClient(full.url, retries=retries) as client:
            with pytest.raises(errors.OverloadedError, match="not now"):
                client.baseline("hi")
            with client.stream("hi") as stream, pytest.raises(errors.OverloadedError):
                list(stream)
        assert len(full.requests) == 2 * (1 + retries)


def test_a_suggestion_past_the_deadline_ends_the_call_at_once() -> None:
    with (
        Server(refuses(503, retry_after="30")) as server,
        PersonaClient(server.url, deadline=5) as client,
    ):
        with pytest.raises(errors.UnavailableError):
            client.baseline("hi")
        assert len(server.requests) == 1


def test_a_deadline_ends_waiting_for_a_server_that_hangs() -> None:
    released = threading.Event()

    def hang(handler: BaseHTTPRequestHandler) -> None:
        released.wait(10)

    with Server(hang) as server, PersonaClient(server.url, deadline=0.2) as client:
        with pytest.raises(errors.ConnectionFailedError, match="silent"):
            client.baseline("hi")
        released.set()
        assert len(server.requests) == 1


def test_a_refusal_and_a_removal_are_not_tried_again() -> None:
    with Server(refuses(400)) as server, PersonaClient(server.url) as client:
        with pytest.raises(errors.InvalidRequestError):
            client.baseline("hi")
        assert len(server.requests) == 1
    with Server(refuses(503)) as server, PersonaClient(server.url) as client:
        with pytest.raises(errors.UnavailableError):
            client.delete_trait("sarcasm")
        assert server.requests == ["DELETE"]

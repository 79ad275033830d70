"""What the status port says in each state."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from benchmarks.prometheus_text import Scrape
from launcher.errors import LaunchError
from launcher.loopback import free_ports
from launcher.status import (
    CONNECTION_SECONDS,
    MAX_CONNECTIONS,
    SERVING,
    State,
    StatusServer,
    SupervisorStatus,
    answer_to,
)


@pytest.mark.parametrize("state", list(State))
def test_readiness_is_serving_and_life_is_not_having_given_up(state: State) -> None:
    status = SupervisorStatus()
    status.become(state)
    assert answer_to("/ready", status)[0] == (200 if state in SERVING else 503)
    assert answer_to("/live", status)[0] == (503 if state is State.FAILED else 200)
    assert json.loads(answer_to("/status", status)[2])["state"] == state.value
    scrape = Scrape(answer_to("/metrics", status)[2])
    shown = {each: scrape.get("persona_supervisor_state", state=each.value) for each in State}
    assert [each for each, value in shown.items() if value] == [state]


def test_a_busy_server_is_ready() -> None:
    assert State.BUSY in SERVING


def test_time_and_repairs_are_counted() -> None:
    now = 10.0
    status = SupervisorStatus(lambda: now)
    for state in (State.READY, State.RELOADING, State.READY, State.RESTARTING, State.RELOADING):
        now += 1
        status.become(state, "why")
        status.explain("why else")
    now += 2.5
    snapshot = status.snapshot()
    assert (snapshot.reloads, snapshot.restarts, snapshot.since_seconds) == (2, 1, 2.5)
    assert snapshot.reason == "why else"
    scrape = Scrape(answer_to("/metrics", status)[2])
    assert scrape.get("persona_supervisor_reloads_total") == 2
    assert scrape.get("persona_supervisor_restarts_total") == 1


def test_the_port_answers_and_a_taken_one_is_refused_with_its_remedy() -> None:
    (port,) = free_ports(1)
    status = SupervisorStatus()
    server = StatusServer("127.0.0.1", port, status)
    try:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ready?probe=1")
        assert refused.value.code == 503
        status.become(State.READY)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready") as answer:
            assert json.load(answer)["state"] == "ready"
        with pytest.raises(LaunchError, match="choose another with STATUS_PORT"):
            StatusServer("127.0.0.1", port, status)
    finally:
        server.close()


class Port:
    """A status port with a clock of its own."""

    def __init__(self) -> None:
        self.now = 100.0
        (self.number,) = free_ports(1)
        self.server = StatusServer(
            "127.0.0.1", self.number, SupervisorStatus(), clock=lambda: self.now
        )

    def connect(self, said: bytes) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.number), timeout=60)
        client.sendall(said)
        return client

    def is_live(self) -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.number}/live", timeout=60) as answer:
            return bool(answer.status == 200)


@pytest.fixture
def port() -> Iterator[Port]:
    port = Port()
    yield port
    port.server.close()


def ends_while_it_drips(client: socket.socket) -> bool:
    """Sends bytes, each much sooner than any pause a server allows, until the server hangs up."""
    client.settimeout(0.05)
    for _ in range(1200):
        try:
            client.sendall(b"x")
            if not client.recv(1000):
                return True
        except TimeoutError:
            continue
        except OSError:
            return True
    return False


def test_beyond_the_most_connections_a_new_one_replaces_the_oldest(port: Port) -> None:
    with ExitStack() as stack:
        halves = [stack.enter_context(port.connect(b"GET /live")) for _ in range(MAX_CONNECTIONS)]
        assert port.is_live()
        assert ends_while_it_drips(halves[0])
        # The others may still complete what they ask.
        for half in halves[1:]:
            half.sendall(b" HTTP/1.0\r\n\r\n")
            assert half.recv(12) == b"HTTP/1.0 200"


def test_a_client_that_drips_is_cut_off_when_its_time_is_over(port: Port) -> None:
    with port.connect(b"GET /live?") as dripping:
        assert port.is_live()  # so the one before is open, too
        port.now += CONNECTION_SECONDS - 0.1
        with port.connect(b"GET /live?") as later:
            assert port.is_live()
            port.now += 0.1
            assert ends_while_it_drips(dripping)
            later.sendall(b" HTTP/1.0\r\n\r\n")
            assert later.recv(12) == b"HTTP/1.0 200"


def test_closing_ends_what_is_open() -> None:
    port = Port()
    with port.connect(b"GET /live?") as half:
        assert port.is_live()
        port.server.close()
        with suppress(ConnectionError):
            assert half.recv(1000) == b""

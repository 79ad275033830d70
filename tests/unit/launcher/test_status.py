"""What the status port says in each state."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest

from benchmarks.prometheus_text import Scrape
from launcher.errors import LaunchError
from launcher.loopback import free_ports
from launcher.status import SERVING, State, StatusServer, SupervisorStatus, answer_to


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

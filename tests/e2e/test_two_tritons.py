"""Two real Tritons behind one gateway: when one fails, only answers that it had begun fail."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from benchmarks.prometheus_text import Scrape
from launcher.loopback import loopback_settings, supervised
from launcher.stack import Stack
from tests.e2e.conftest import CONTROL_KEY, ONE_THREAD, START_SECONDS
from tests.e2e.gateways import RunningGateway, gateway
from tests.e2e.held_engine import is_repaired, stubs_of
from tests.e2e.load import Outcome, load, load_with_answers_in
from tests.e2e.triton_call import describe
from tests.e2e.waiting import eventually

CLIENTS = 8
Pair = tuple[Stack, Stack]


@pytest.fixture(scope="module")
def tritons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two Tritons with the demo model, without gateways."""
    first, second = (
        Stack(
            loopback_settings(tmp_path_factory.mktemp("run"), START_SECONDS),
            {**ONE_THREAD, **CONTROL_KEY},
            say=lambda _: None,
        )
        for _ in range(2)
    )
    with ExitStack() as stops:
        for each in (first, second):
            stops.callback(each.stop)
            each.start_triton()
        yield first, second
        for each in (first, second):
            if each.triton:
                # A dead model's requests are leaked: there is no use in waiting for them.
                each.triton.stop(patience_seconds=2)


@pytest.fixture(scope="module")
def served(tritons: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway in front of both."""
    url = ",".join(stack.settings.grpc_address for stack in tritons)
    environment = {**os.environ, **ONE_THREAD}
    with gateway(tmp_path_factory.mktemp("gateway"), environment, TRITON_URL=url) as running:
        assert eventually(lambda: servers(running, "ready") == 2)
        yield running


def metrics(served: RunningGateway) -> Scrape:
    return Scrape(httpx.get(f"{served.url}/metrics").text)


def servers(served: RunningGateway, state: str) -> float:
    return metrics(served).get("persona_gateway_endpoints", state=state)


def assert_only_begun_answers_failed(outcomes: list[Outcome], killed_at: float) -> None:
    failed = [outcome for outcome in outcomes if not outcome.succeeded]
    for outcome in failed:
        assert outcome.streamed, f"a request that had not started failed: {outcome}"
        assert outcome.begun_at is not None, f"the same: {outcome}"
        assert outcome.sent_at < killed_at
        assert "event: error" in outcome.text
        assert '"code":"unavailable"' in outcome.text
    assert len(failed) <= CLIENTS / 2
    assert sum(outcome.ended_at > killed_at for outcome in outcomes) > len(failed)


def test_both_get_work(served: RunningGateway, tritons: Pair) -> None:
    def generated() -> list[int]:
        descriptions = [describe(stack.settings.grpc_address) for stack in tritons]
        return [description["engine"]["generated_tokens"] for description in descriptions]

    before = generated()
    with load(served.url, 4):
        # More than probes can account for.
        assert eventually(
            lambda: all(now - then > 100 for then, now in zip(before, generated(), strict=True))
        )


def test_a_dead_model_swallows_nothing_and_comes_back(
    served: RunningGateway, tritons: Pair
) -> None:
    triton = tritons[0].triton
    assert triton
    (stub,) = stubs_of(triton, "steered_qwen")
    address = tritons[0].settings.grpc_address
    with load_with_answers_in(triton, address, served.url, CLIENTS) as outcomes:
        os.kill(stub, signal.SIGKILL)
        killed_at = time.monotonic()
    assert_only_begun_answers_failed(outcomes, killed_at)
    assert metrics(served).get("persona_gateway_generation_retries_total") >= 1
    with supervised(*tritons):
        assert eventually(lambda: is_repaired(tritons[0]) and servers(served, "ready") == 2)


def test_a_killed_triton_costs_only_the_answers_that_it_had_begun(
    served: RunningGateway, tritons: Pair
) -> None:
    triton = tritons[1].triton
    assert triton
    address = tritons[1].settings.grpc_address
    with load_with_answers_in(triton, address, served.url, CLIENTS) as outcomes:
        os.kill(triton.pid, signal.SIGKILL)
        killed_at = time.monotonic()
    assert_only_begun_answers_failed(outcomes, killed_at)
    assert eventually(lambda: servers(served, "away") == 1)
    assert httpx.get(f"{served.url}/health/ready").status_code == 200

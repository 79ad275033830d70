"""Clients that ask a gateway again and again, and write down how each request went."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from launcher.processes import ManagedProcess
from tests.e2e.held_engine import BEGINNING, held_engine, num_open
from tests.e2e.waiting import PATIENCE_SECONDS, eventually

BODY: dict[str, Any] = {
    "prompt": "Tell me about quantum computing.",
    "trait": "sarcasm",
    "scalar": 1.0,
    "max_tokens": 120,
    "min_tokens": 120,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request went.

    Attributes:
        streamed: Whether it was streamed.
        sent_at: When it was sent.
        begun_at: When the first chunk came, if one did and shows.
        ended_at: When it ended.
        succeeded: Whether it has a whole answer.
        text: What came, for a failure's message.
    """

    streamed: bool
    sent_at: float
    begun_at: float | None
    ended_at: float
    succeeded: bool
    text: str


@contextmanager
def load(
    url: str,
    clients: int,
    verify: ssl.SSLContext | bool = True,
    streamed: Sequence[bool] = (True, False),
) -> Iterator[list[Outcome]]:
    """Keeps clients busy, every other one with streams; the list has all outcomes at the end.

    Args:
        url: What they ask.
        clients: How many.
        verify: Whose certificates they believe.
        streamed: Whether they want streams, for one after another and again from the first.
    """
    outcomes: list[Outcome] = []
    enough = threading.Event()

    def work(streams: bool) -> None:
        with httpx.Client(base_url=url, timeout=PATIENCE_SECONDS, verify=verify) as client:
            while not enough.is_set():
                outcomes.append(ask(client, streams))

    threads = [
        threading.Thread(target=work, args=(streamed[number % len(streamed)],))
        for number in range(clients)
    ]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        enough.set()
        for thread in threads:
            thread.join()


@contextmanager
def load_with_answers_in(
    triton: ManagedProcess | None, address: str, url: str, clients: int, **options: Any
) -> Iterator[list[Outcome]]:
    """Keeps clients busy, and holds an engine amid the answers of some of them meanwhile.

    Some of those have no beginning that their client has seen: they are not streamed. When the
    engine goes on, at the end, so does the load until every client has been answered again.

    Args:
        triton: The engine's server.
        address: Its gRPC address.
        url: What the clients ask.
        clients: How many.
        **options: What else `load` is told.
    """
    outcomes: list[Outcome] = []
    with ExitStack() as loads:
        with held_engine(triton) as engine:
            whole = loads.enter_context(load(url, clients // 2, streamed=(False,), **options))
            # One of them may be a probe.
            assert eventually(lambda: num_open(address) >= 2)
            streams = loads.enter_context(load(url, clients // 2, streamed=(True,), **options))
            assert eventually(lambda: num_open(address) >= 3)
            engine.steps(BEGINNING)
            yield outcomes
        gone_on_at = time.monotonic()

        def num_answered() -> int:
            return sum(each.succeeded and each.sent_at > gone_on_at for each in (*whole, *streams))

        enough = eventually(lambda: num_answered() >= clients)
        assert enough, (
            f"{num_answered()} answers of {clients}, the last: {whole[-2:] + streams[-2:]}"
        )
    outcomes += whole + streams


def ask(client: httpx.Client, streamed: bool) -> Outcome:
    """Sends one request and reads all of its answer."""
    sent_at, begun_at, text = time.monotonic(), None, ""
    try:
        with client.stream(
            "POST", "/api/v1/generate", json={**BODY, "stream": streamed}
        ) as response:
            for piece in response.iter_text():
                begun_at = begun_at or time.monotonic()
                text += piece
        complete = "event: done" in text if streamed else '"success":true' in text
        succeeded = response.status_code == 200 and complete
    except httpx.TransportError as error:
        succeeded, text = False, text + repr(error)
    return Outcome(
        streamed, sent_at, begun_at if streamed else None, time.monotonic(), succeeded, text
    )

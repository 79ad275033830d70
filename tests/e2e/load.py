"""Clients that ask a gateway again and again, and write down how each request went."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

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
def load(url: str, clients: int, verify: ssl.SSLContext | bool = True) -> Iterator[list[Outcome]]:
    """Keeps clients busy, every other one with streams; the list has all outcomes at the end.

    Args:
        url: What they ask.
        clients: How many.
        verify: Whose certificates they believe.
    """
    outcomes: list[Outcome] = []
    enough = threading.Event()

    def work(streams: bool) -> None:
        with httpx.Client(base_url=url, timeout=60, verify=verify) as client:
            while not enough.is_set():
                outcomes.append(ask(client, streams))

    threads = [threading.Thread(target=work, args=(number % 2 == 0,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        enough.set()
        for thread in threads:
            thread.join()


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

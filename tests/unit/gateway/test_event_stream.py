"""Events on the wire: proper framing, a status before the first, heartbeats, an end for all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from gateway.errors import GatewayError, UnknownTraitError
from gateway.http.client_disconnect import ClientGoneError
from gateway.http.server_sent_events import EventStream, format_event
from tests.unit.gateway.scripted_generation import all_wait


def test_an_event_is_a_name_and_one_line_of_json() -> None:
    assert format_event("chunk", {"text": "a\nb"}) == b'event: chunk\ndata: {"text":"a\\nb"}\n\n'


def test_no_character_of_a_text_can_look_like_a_line_end() -> None:
    text = "a\u2028b\u2029c\u0085d\x0be\x1cf\rg"
    event = format_event("chunk", {"text": text}).decode()
    assert len(event.splitlines()) == 3
    assert json.loads(event.splitlines()[1].removeprefix("data: ")) == {"text": text}


class Client:
    """Stands at the other end of ASGI."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.gone = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def run(self, response: EventStream) -> None:
        await response({"type": "http"}, self.receive, self.send)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


def goodbye(error: GatewayError) -> bytes:
    return b"bye"


async def test_events_are_sent_as_they_come_and_the_response_ends() -> None:
    async def events() -> AsyncGenerator[bytes, None]:
        yield b"one"
        yield b"two"

    client = Client()
    await client.run(EventStream(events(), heartbeat=3600, last_words=goodbye))
    headers = dict(client.sent[0]["headers"])
    assert headers[b"content-type"].startswith(b"text/event-stream")
    assert headers[b"cache-control"] == b"no-store"
    assert headers[b"x-accel-buffering"] == b"no"
    assert client.body == b"onetwo"
    assert not client.sent[-1]["more_body"]


async def test_an_error_before_the_first_event_leaves_the_status_open() -> None:
    async def events() -> AsyncGenerator[bytes, None]:
        raise UnknownTraitError("unknown")
        yield b""

    client = Client()
    with pytest.raises(UnknownTraitError):
        await client.run(EventStream(events(), heartbeat=3600, last_words=goodbye))
    assert client.sent == []


async def test_silence_is_filled_with_heartbeats() -> None:
    async def events() -> AsyncGenerator[bytes, None]:
        yield b"one"
        while client.body.count(b": ") < 2:
            await asyncio.sleep(0.01)
        yield b"two"

    client = Client()
    await client.run(EventStream(events(), heartbeat=0.05, last_words=goodbye))
    assert client.body.startswith(b"one: ")
    assert client.body.endswith(b"two")


@pytest.mark.parametrize("events_before", [0, 1])
async def test_a_client_that_goes_away_closes_silent_events_at_once(events_before: int) -> None:
    closed = asyncio.Event()

    async def events() -> AsyncGenerator[bytes, None]:
        try:
            for _ in range(events_before):
                yield b"one"
            await asyncio.Event().wait()
        finally:
            closed.set()

    client = Client()
    run = asyncio.create_task(client.run(EventStream(events(), heartbeat=3600, last_words=goodbye)))
    await all_wait()
    client.gone.set()
    if events_before:
        await run
    else:
        with pytest.raises(ClientGoneError):
            await run
    assert closed.is_set()


async def test_a_shutdown_ends_a_stream_that_has_begun_with_last_words() -> None:
    async def events() -> AsyncGenerator[bytes, None]:
        yield b"one"
        await asyncio.Event().wait()

    client = Client()
    stream = EventStream(events(), heartbeat=3600, last_words=goodbye)
    run = asyncio.create_task(client.run(stream))
    await all_wait()
    run.cancel()
    await run
    assert client.body == b"onebye"
    assert not client.sent[-1]["more_body"]

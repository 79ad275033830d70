"""How a request ended: broken off, refused, or left by its client."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.errors import DeadlineError, OverloadedError
from gateway.http.request_context import RequestContext
from gateway.request_record import Observer, RequestRecord
from tests.unit.gateway.observability.observed import record, watch


@pytest.mark.parametrize(
    ("status", "error", "outcome"),
    [
        (200, None, "ok"),
        (404, None, "client_error"),
        (429, None, "overloaded"),
        (499, None, "cancelled"),
        (503, None, "failed"),
        (0, None, "failed"),
        (200, DeadlineError("an answer that broke off"), "failed"),
        (200, OverloadedError("one of several"), "overloaded"),
        (200, GeneratorExit(), "failed"),  # given up, though the client is still there
    ],
)
def test_an_answer_that_breaks_off_is_no_success(
    status: int, error: BaseException | None, outcome: str
) -> None:
    request = record()
    request.status = status
    if error is not None:
        generation = watch(request=request)
        generation.began()
        generation.ended(error)
    assert request.outcome == outcome


async def test_a_client_that_goes_away_is_neither_a_success_nor_a_failure() -> None:
    ended: list[RequestRecord] = []

    class Ends(Observer):
        def request_ended(self, request: RequestRecord) -> None:
            ended.append(request)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()
        if scope["path"] == "/late":
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            await receive()

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        pass

    for path in ("/early", "/late"):
        messages = [{"type": "http.request"}, {"type": "http.disconnect"}]
        if path == "/early":
            messages.pop(0)
        scope: Any = {"type": "http", "method": "GET", "path": path, "headers": []}
        await RequestContext(app, [Ends()])(scope, receive, send)
    assert [request.outcome for request in ended] == ["cancelled", "ok"]

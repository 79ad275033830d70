"""The middleware that lets requests in: by the name they ask for, by their key, by their limits."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import GatewayError
from gateway.http.error_responses import gateway_error_response
from gateway.protection.access import AccessControl
from gateway.protection.hosts import HostCheck
from gateway.protection.rate_limits import RateLimiter, Standing
from gateway.request_record import RequestRecord, current_request


class Guard:
    """Answers requests that are not let in, and tells the others what is left of their limits.

    Requests that only read count for no limit: they cost the model nothing.
    """

    def __init__(
        self, app: ASGIApp, hosts: HostCheck, access: AccessControl, limiter: RateLimiter
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._access = access
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            # There are no websockets here, so none is let in.
            await send({"type": "websocket.close", "code": 1008})
            return
        record = current_request.get()
        assert record is not None
        try:
            standings = await self._admit(scope, record)
        except GatewayError as error:
            record.log_fields.update(code=error.code, reason=error.message)
            await gateway_error_response(scope, error)(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for standing in standings:
                    headers.update(standing.headers())
            await send(message)

        await self._app(scope, receive, send_with_headers)

    async def _admit(self, scope: Scope, record: RequestRecord) -> Sequence[Standing]:
        self._hosts.check(scope)
        record.caller = self._access.caller(scope)
        if record.caller.key_name:
            record.log_fields["key"] = record.caller.key_name
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return ()
        return await self._limiter.take(record.caller)

"""Requests that mean the same as another: HEAD, and addresses with a slash at their end."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class RequestForms:
    """Serves HEAD wherever GET is served, and an address with a slash at its end as without.

    A redirect to the address without the slash would do for GET alone: clients leave out the key,
    or the body, when they follow it, and behind a proxy it would need the proxy's name and scheme.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # In place, because others read here which route it is.
        scope["path"] = scope["path"].rstrip("/") or "/"
        if scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            await send({**message, "body": b""} if "body" in message else message)

        # The server, which keeps its own, frames the answer by the method.
        as_get = {**scope, "method": "GET"}
        try:
            await self._app(as_get, receive, send_without_body)
        finally:
            scope.update({**as_get, "method": "HEAD"})

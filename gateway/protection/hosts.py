"""Which names a gateway is asked for by.

A web page can have its own name mean another address from one moment to the next. The browser then
takes a gateway there, on its own machine or in its network, for the page's own server, and lets
the page read its answers: only the `Host` header still tells them apart. With keys that is no use
to the page, which has none.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.errors import PermissionDeniedError
from gateway.http.error_responses import gateway_error_response
from gateway.request_record import current_request

_ENDINGS = (".localhost", ".local", ".internal", ".svc", ".cluster.local")
"""Of names that nobody can register: this machine's, a network's, a cloud's, a cluster's."""


class HostCheck:
    """Refuses requests for names that are not this gateway's.

    With a list that is every other name that a web page can have. Without one it is every such
    name if there are no keys, and none if there are. Addresses, names without a dot, and names that
    nobody can register are nobody's to rebind, so probes and clients that use one always pass.

    Args:
        app: The application behind it.
        allowed: The names, if there is a list.
        has_keys: Whether clients need a key.
    """

    def __init__(self, app: ASGIApp, allowed: Collection[str], has_keys: bool) -> None:
        self._app = app
        self._allowed = frozenset(name.lower() for name in allowed)
        self._looks = bool(allowed) or not has_keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] == "http" and self._looks:
            for host in Headers(scope=scope).getlist("host"):
                name = _name_of(host)
                if not self._is_allowed(name):
                    await self._refuse(name, scope, receive, send)
                    return
        await self._app(scope, receive, send)

    def _is_allowed(self, name: str) -> bool:
        return name in self._allowed or _is_private(name) or _is_address(name)

    async def _refuse(self, name: str, scope: Scope, receive: Receive, send: Send) -> None:
        error = PermissionDeniedError(
            f"this gateway is not known as {name[:100]!a}: use its address or localhost, or add "
            "the name to ALLOWED_HOSTS where the gateway is started"
        )
        record = current_request.get()
        if record is not None:
            record.log_fields.update(code=error.code, reason=error.message)
        await gateway_error_response(scope, error)(scope, receive, send)


def _name_of(host: str) -> str:
    """Returns a Host header's name, without its port, brackets and the dot of the root."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower().removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_private(name: str) -> bool:
    """Whether a name is none that somebody could have registered for a web page."""
    return name.endswith(_ENDINGS) or (name != "" and "." not in name)

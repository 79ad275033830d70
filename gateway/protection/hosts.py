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
from starlette.types import Scope

from gateway.errors import PermissionDeniedError

_ENDINGS = (".localhost", ".local", ".internal", ".svc", ".cluster.local")
"""Of names that nobody can register: this machine's, a network's, a cloud's, a cluster's."""


class HostCheck:
    """Refuses requests for names that are not this gateway's.

    With a list that is every other name that a web page can have. Without one it is every such
    name if there are no keys, and none if there are. Addresses, names without a dot, and names that
    nobody can register are nobody's to rebind, so probes and clients that use one always pass.
    """

    def __init__(self, allowed: Collection[str], has_keys: bool) -> None:
        self._allowed = frozenset(name.lower() for name in allowed)
        self._looks = bool(allowed) or not has_keys

    def check(self, scope: Scope) -> None:
        """Looks at the names that a request has in its `Host` headers.

        Raises:
            PermissionDeniedError: One is not this gateway's.
        """
        for host in Headers(scope=scope).getlist("host") if self._looks else ():
            name = _name_of(host)
            if not (name in self._allowed or _is_private(name) or _is_address(name)):
                raise PermissionDeniedError(
                    f"this gateway is not known as {name[:100]!a}: use its address or localhost, "
                    "or add the name to ALLOWED_HOSTS where the gateway is started"
                )


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

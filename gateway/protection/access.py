"""Who is let in: whoever has a key, and everybody to the few addresses that are public."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import Depends
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.types import Scope

from gateway.caller import NOBODY, Caller
from gateway.errors import PermissionDeniedError, UnauthenticatedError
from gateway.http.security_headers import DOCS_PATH
from gateway.observability.metrics import METRICS_PATH
from gateway.protection.keys import KeyStore
from gateway.request_record import current_request
from gateway.settings import Settings

_HOW = "send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'"
_BEARER = b"bearer "
_PLAYGROUND = "/playground"

SHOWN_SCHEMES: Sequence[Any] = (
    Depends(HTTPBearer(auto_error=False, description="An API key.")),
    Depends(APIKeyHeader(name="X-API-Key", auto_error=False, description="The same.")),
)
"""Dependencies that make `/docs` ask for a key; they check nothing, `AccessControl` does."""


class AccessControl:
    """Finds out who sends a request, and lets nobody in without a key if keys are required.

    What is not public by the letter of its address needs a key, whether or not there is such an
    address: no way of writing one leads around this.
    """

    def __init__(self, keys: KeyStore, settings: Settings) -> None:
        self._keys = keys
        # Beside these, the playground's files.
        self._public = {"/", "/health", "/health/ready"}
        if settings.docs:
            self._public |= {DOCS_PATH, "/openapi.json"}
        if settings.metrics_public:
            self._public.add(METRICS_PATH)

    def caller(self, scope: Scope) -> Caller:
        """Returns who sends a request.

        Raises:
            UnauthenticatedError: That has to be known, and is not.
        """
        address = (scope.get("client") or ("",))[0]
        # A key that is not asked for is not looked at: many of OpenAI's clients always send one.
        if not self._keys.required or self._is_public(scope):
            return Caller(address=address)
        entry = self._keys.find(_key_of(scope))
        if entry is None:
            raise UnauthenticatedError("the API key is not valid")
        if refusal := entry.refusal():
            raise UnauthenticatedError(refusal, f"{refusal}: {entry.name}")
        return Caller(entry.role, address, entry.name, entry.requests, entry.tokens)

    def _is_public(self, scope: Scope) -> bool:
        if scope["method"] not in ("GET", "HEAD"):
            return False
        path: str = scope["path"]
        folder, _, name = path.rpartition("/")
        return path in self._public or (folder == _PLAYGROUND and bool(name))


def _key_of(scope: Scope) -> bytes:
    """Returns the key that a request has.

    Raises:
        UnauthenticatedError: It has none; or more than one, of which a proxy in front of the
            gateway may have looked at another.
    """
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    bearers = [value for name, value in headers if name == b"authorization"]
    keys = [value for name, value in headers if name == b"x-api-key"]
    if len(bearers) > 1 or len(keys) > 1:
        raise UnauthenticatedError("the request has more than one API key: send one")
    keys += [value[len(_BEARER) :] for value in bearers if value.lower().startswith(_BEARER)]
    found = {key.strip() for key in keys} - {b""}
    if not found:
        raise UnauthenticatedError(f"this gateway needs an API key: {_HOW}")
    if len(found) > 1:
        raise UnauthenticatedError("the request has more than one API key: send one")
    return found.pop()


async def _require_admin() -> None:
    """Lets a request pass whose key has the role `admin`.

    Raises:
        PermissionDeniedError: It has another role, or the gateway has no keys.
    """
    record = current_request.get()
    caller = (record and record.caller) or NOBODY
    if caller.role == "admin":
        return
    if caller.key_name:
        raise PermissionDeniedError(
            f"the API key {caller.key_name!r} may not do that: it takes one of the role admin"
        )
    raise PermissionDeniedError(
        "this gateway takes no changes, since it has no API keys: make one of the role admin with "
        "'persona keys new', and set API_KEYS or API_KEYS_FILE where the gateway is started"
    )


RequiresAdmin = Depends(_require_admin)
"""The dependency of calls that only an admin may make; it runs before a body is read."""

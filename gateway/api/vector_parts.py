"""Requests of two parts: `request`, the JSON body, and `vectors`, a safetensors file for it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from fastapi import Request
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from gateway.http.bodies import BoundedRequest, BoundedRoute
from gateway.http.multipart import is_multipart, parts_of
from triton_models.contract.request_vectors import encoded_vectors
from triton_models.vectors.formats.safetensors_file import read_named_vectors
from triton_models.vectors.persona_vector import VectorFileError

_PARTS = ("request", "vectors")

_SHOWN: dict[str, Any] = {
    "type": "object",
    "properties": {
        "request": {
            "type": "string",
            "contentMediaType": "application/json",
            "description": "The body as it is sent without vectors.",
        },
        "vectors": {
            "type": "string",
            "format": "binary",
            "description": (
                "A safetensors file: a tensor `mine.15` is block 15 of the vector `mine`."
            ),
        },
    },
    "required": list(_PARTS),
    "additionalProperties": False,
}


class _PartsRequest(BoundedRequest):
    """A request of two parts, as if it had one."""

    @property
    def headers(self) -> Headers:
        """Those of such a request."""
        return Headers({**super().headers, "content-type": "application/json"})

    async def json(self) -> Any:
        """Returns what the body would say in one part; raises as `BoundedRequest`'s does."""
        sent = super().headers
        if "origin" in sent:
            # Browsers send any page's forms to a gateway without keys, but not any page's JSON.
            raise HTTPException(403, "web pages cannot send parts: send JSON")
        parts = parts_of(await self.body(), sent["content-type"])
        if set(parts) != set(_PARTS):
            given = ", ".join(parts) or "nothing"
            raise _refusal(f"the body has the parts {given}: send {' and '.join(_PARTS)}")
        try:
            self._check_size(parts["request"])
            document = self._parsed(parts["request"])
        except json.JSONDecodeError as error:
            raise _refusal(f"the part request is not valid JSON: {error}") from error
        if not isinstance(document, dict) or "vectors" in document:
            raise _refusal("the part request must be an object without vectors")
        try:
            # In a thread, since a file's header may take long to read.
            vectors = await asyncio.to_thread(_encoded, parts["vectors"])
        except VectorFileError as error:
            raise _refusal(f"the part vectors {error}") from error
        return {**document, "vectors": vectors}


class PartsRoute(BoundedRoute):
    """A route that also takes bodies of two parts."""

    def __init__(self, *args: Any, **options: Any) -> None:
        shown = {"requestBody": {"content": {"multipart/form-data": {"schema": _SHOWN}}}}
        super().__init__(*args, **{**options, "openapi_extra": shown})

    def bounded(self, request: Request) -> BoundedRequest:
        """See `BoundedRoute`."""
        if is_multipart(request.headers.get("content-type", "")):
            return _PartsRequest(request.scope, request.receive, request._send)
        return super().bounded(request)


def _encoded(file: bytes) -> dict[str, Any]:
    return encoded_vectors(read_named_vectors(file))


def _refusal(message: str) -> HTTPException:
    return HTTPException(422, message)

"""The files of the playground; its page is at `/`."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.static_files import static_response

router = APIRouter(prefix="/playground", include_in_schema=False)


@router.get("/{name}")
def playground_file(name: str, request: Request) -> Response:
    """Returns a stylesheet, a script or an image of the playground."""
    return static_response(request, name)

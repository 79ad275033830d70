"""The playground: its page, which is at `/`, and its files."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

router = APIRouter(prefix="/playground", include_in_schema=False)

_FOLDER = Path(__file__).resolve().parents[1] / "playground"
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_NAME = re.compile(r"[a-z_]+\.[a-z]+")

_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@router.get("/{name}", response_class=Response)
def playground_file(request: Request, name: str) -> Response:
    """Returns a file of the playground, or 304 if the client has it already.

    It is read for every request, and clients ask every time whether it is still the same: a new
    release, or an edit, is seen at once and whole.

    Raises:
        HTTPException: There is no such file (404).
    """
    path = _FOLDER / name
    media_type = _MEDIA_TYPES.get(path.suffix)
    if media_type is None or not _NAME.fullmatch(name) or not path.is_file():
        raise HTTPException(404)
    content = path.read_bytes()
    headers = {
        "ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
        "Cache-Control": "no-cache",
        "Content-Security-Policy": _CONTENT_SECURITY_POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    if _has_already(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=media_type)


def _has_already(request: Request, etag: str) -> bool:
    known = request.headers.get("if-none-match", "")
    tags = {tag.strip().removeprefix("W/") for tag in known.split(",")}
    return etag in tags or "*" in tags

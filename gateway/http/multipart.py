"""Bodies of several parts, `multipart/form-data`, kept in memory.

Starlette's own parser writes parts to temporary files.
"""

from __future__ import annotations

from email.message import Message

from starlette.exceptions import HTTPException

_KIND = "multipart/form-data"
_MAX_PARTS = 15
_MAX_HEADER_CHARS = 500
"""To read the parameters of a header takes a time that grows with the square of its length."""
_HEADERS_END = b"\r\n\r\n"


def is_multipart(content_type: str) -> bool:
    """Whether a body of this type has parts."""
    return content_type.partition(";")[0].strip().lower() == _KIND


def parts_of(content: bytes, content_type: str) -> dict[str, bytes]:
    """Returns the parts of a body by name.

    Raises:
        HTTPException: It is not what its type says (400).
    """
    boundary = _parameter(content_type, "content-type", "boundary")
    if not boundary:
        raise _malformed("its Content-Type has no boundary")
    # The first boundary may be where the body begins, the others begin a line.
    line = b"\r\n--" + boundary.encode("latin-1", "replace")
    _, *pieces = (b"\r\n" + content).split(line, _MAX_PARTS + 2)
    if len(pieces) > _MAX_PARTS + 1:
        raise _malformed(f"it has more than {_MAX_PARTS} parts")
    if not pieces or not pieces[-1].startswith(b"--"):
        raise _malformed("it does not end with its boundary and two hyphens")
    parts: dict[str, bytes] = {}
    for piece in pieces[:-1]:
        # After a boundary the rest of its line is blank.
        head, separator, part = piece.lstrip(b" \t").removeprefix(b"\r\n").partition(_HEADERS_END)
        name = _name(head.decode("latin-1")) if separator else ""
        if not name or name in parts:
            raise _malformed("each part needs a name of its own, in its Content-Disposition")
        parts[name] = part
    return parts


def _name(head: str) -> str:
    for line in head.split("\r\n"):
        header, _, value = line.partition(":")
        if header.strip().lower() == "content-disposition":
            return _parameter(value.strip(), "content-disposition", "name")
    return ""


def _parameter(value: str, header: str, name: str) -> str:
    if len(value) > _MAX_HEADER_CHARS:
        raise _malformed(
            f"a {header} has {len(value)} characters: send at most {_MAX_HEADER_CHARS}"
        )
    message = Message()
    message[header] = value
    found = message.get_param(name, "", header)
    return found if isinstance(found, str) else ""


def _malformed(why: str) -> HTTPException:
    return HTTPException(400, f"the body is not {_KIND}: {why}")

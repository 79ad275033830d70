"""Bodies of several parts: what is read, and what would take long to read and is not."""

from __future__ import annotations

import pytest
from starlette.exceptions import HTTPException

from gateway.http.multipart import parts_of

KIND = "multipart/form-data; boundary=x"

# Python's own reader of parameters looks for each of these semicolons from the beginning again.
MANY_SEMICOLONS = '"' + ";" * 600


def test_parts_are_found_by_name_whatever_else_is_said_of_them() -> None:
    body = (
        b"--x \r\n"
        b'Content-Disposition: form-data; filename="a;b.json"; name="request"\r\n'
        b"Content-Type: application/json\r\n\r\n"
        b"{}\r\n--x\r\n"
        b"content-disposition: form-data; name=vectors\r\n\r\n"
        b"\r\n--y\r\n\r\n--x--\r\n"
    )
    assert parts_of(body, KIND) == {"request": b"{}", "vectors": b"\r\n--y\r\n"}


@pytest.mark.parametrize(
    ("body", "content_type", "header"),
    [
        (b"--x--", f"multipart/form-data; boundary={MANY_SEMICOLONS}", "content-type"),
        (
            b"--x\r\nContent-Disposition: form-data; name="
            + MANY_SEMICOLONS.encode()
            + b"\r\n\r\n\r\n--x--",
            KIND,
            "content-disposition",
        ),
    ],
)
def test_a_long_header_is_refused_before_its_parameters_are_read(
    body: bytes, content_type: str, header: str
) -> None:
    with pytest.raises(HTTPException, match=f"a {header} has 6.. characters: send at most 500"):
        parts_of(body, content_type)


def test_only_so_many_parts_are_looked_for() -> None:
    def body(count: int) -> bytes:
        parts = [
            b'\r\n--x\r\nContent-Disposition: form-data; name="%d"\r\n\r\n' % number
            for number in range(count)
        ]
        return b"".join(parts)[2:] + b"\r\n--x--"

    assert len(parts_of(body(15), KIND)) == 15
    for count in (16, 1000):
        with pytest.raises(HTTPException, match="it has more than 15 parts"):
            parts_of(body(count), KIND)

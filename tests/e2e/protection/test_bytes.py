"""No bytes lead around the key, whatever is made of a request."""

from __future__ import annotations

import json
import re
import socket

import httpx

from tests.e2e.protection.guarded_gateway import STEERED, Guarded, lines


def send(url: str, head: bytes, body: bytes, *, leave: bool = True) -> bytes:
    """Sends bytes that no HTTP library would and returns all answers.

    Args:
        url: The gateway.
        head: The first lines.
        body: What follows the empty line after them.
        leave: Whether to say that nothing comes after that, which ends the connection.
    """
    address = httpx.URL(url)
    with socket.create_connection((address.host, address.port or 80), timeout=10) as connection:
        connection.sendall(head + b"\r\n" + body)
        if leave:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


def test_no_bytes_lead_around_the_key(guarded: Guarded) -> None:
    body = json.dumps(STEERED).encode()
    key = guarded.user.encode()
    host, json_type = b"Host: x", b"Content-Type: application/json"
    size = b"Content-Length: %d" % len(body)
    good = b"Authorization: Bearer " + key
    inner = lines(b"POST /api/v1/generate HTTP/1.1", host, json_type, size) + b"\r\n" + body
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    generate = b"POST /api/v1/generate HTTP/1.1"
    attempts: dict[str, tuple[bytes, bytes]] = {
        "plain": (lines(generate, host, json_type, size), body),
        "two keys": (lines(generate, host, json_type, size, good, good), body),
        "two keys, one wrong": (
            lines(generate, host, json_type, size, b"Authorization: Bearer x", good),
            body,
        ),
        "folded": (
            lines(generate, host, json_type, size, b"Authorization: Bearer", b"\txxx"),
            body,
        ),
        "underscores": (lines(generate, host, json_type, size, b"X_API_Key: " + key), body),
        "space before the colon": (
            lines(generate, host, json_type, size, b"X-API-Key : " + key),
            body,
        ),
        "in the address": (
            lines(b"POST /api/v1/generate?key=" + key + b" HTTP/1.1", host, json_type, size),
            body,
        ),
        "whole address": (
            lines(b"POST http://x/api/v1/generate HTTP/1.1", host, json_type, size),
            body,
        ),
        "public authority": (
            lines(b"POST http://x/health/../api/v1/generate HTTP/1.1", host, json_type, size),
            body,
        ),
        "two slashes": (lines(b"POST //api/v1/generate HTTP/1.1", host, json_type, size), body),
        "fragment": (
            lines(b"POST /api/v1/generate#/health HTTP/1.1", host, json_type, size),
            body,
        ),
        "semicolon": (
            lines(b"POST /api/v1/generate;/health HTTP/1.1", host, json_type, size),
            body,
        ),
        "encoded": (
            lines(b"POST /%61pi%2fv1/generate HTTP/1.1", host, json_type, size),
            body,
        ),
        "other method": (
            lines(b"GET /api/v1/generate HTTP/1.1", host, b"X-HTTP-Method-Override: POST", size),
            body,
        ),
        "lower-case method": (
            lines(b"post /api/v1/generate HTTP/1.1", host, json_type, size),
            body,
        ),
        "HTTP/1.0": (lines(b"POST /api/v1/generate HTTP/1.0", json_type, size), body),
        "proxy's word": (
            lines(generate, host, json_type, size, b"X-Forwarded-For: 127.0.0.1"),
            body,
        ),
        "websocket": (
            lines(
                b"GET /api/v1/generate HTTP/1.1",
                host,
                b"Connection: Upgrade",
                b"Upgrade: websocket",
                b"Sec-WebSocket-Version: 13",
                b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            ),
            b"",
        ),
        "hidden behind a public one, length and chunks": (
            lines(
                b"GET /health HTTP/1.1",
                host,
                b"Content-Length: 5",
                b"Transfer-Encoding: chunked",
            ),
            b"0\r\n\r\n" + inner,
        ),
        "hidden behind a public one, two lengths": (
            lines(b"GET /health HTTP/1.1", host, b"Content-Length: 0", b"Content-Length: 9"),
            inner,
        ),
        "behind a public one": (
            lines(b"GET /health HTTP/1.1", host),
            inner,
        ),
        "chunks": (lines(generate, host, json_type, b"Transfer-Encoding: chunked"), chunked),
    }
    before = guarded.generated()
    for name, (head, content) in attempts.items():
        answer = send(guarded.url, head, content)
        # Only the public address before another request may be answered, and then perhaps alone.
        statuses = re.findall(rb"HTTP/1\.1 (\d+)", answer)
        assert statuses, name
        refused = statuses[1:] if name == "behind a public one" else statuses
        assert all(status.startswith(b"4") for status in refused), (name, answer)
        assert b"tokens_generated" not in answer, name
        assert key not in answer, name
    assert guarded.generated() == before
    head = lines(generate, host, json_type, size, good, b"Connection: close")
    allowed = send(guarded.url, head, body, leave=False)
    assert b"HTTP/1.1 200" in allowed
    assert b"tokens_generated" in allowed
    assert b"\r\nserver:" not in allowed.lower()

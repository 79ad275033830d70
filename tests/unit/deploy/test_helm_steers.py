"""What `helm test` says: what it proves, what it does not, and why it fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.unit.deploy.helm import CHART

TRAITS = {"/health/ready": (200, {}), "/status": (200, {"available_traits": ["sarcasm"]})}


@contextmanager
def gateway(answers: dict[str, tuple[int, Any]]) -> Iterator[str]:
    """Answers paths with a status and a body each; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers[self.path]
            content = json.dumps(body).encode()
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def run(answers: dict[str, tuple[int, Any]]) -> subprocess.CompletedProcess[str]:
    """Runs the script as the chart does, without a key."""
    code = (CHART / "files" / "steers.py").read_text()
    environment = {name: value for name, value in os.environ.items() if name != "PERSONA_API_KEY"}
    with gateway(answers) as url:
        return subprocess.run(
            [sys.executable, "-c", code, url], env=environment, capture_output=True, text=True
        )


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ({**TRAITS, "/status": (200, {"available_traits": []})}, "there are no traits"),
        (
            {**TRAITS, "/api/v1/generate": (400, {"message": "unknown trait"})},
            'a request steered by sarcasm is refused: {"message": "unknown trait"}',
        ),
        ({"/health/ready": (503, {})}, "no model answers: HTTP Error 503"),
    ],
)
def test_it_fails_where_no_request_could_be_steered(
    answers: dict[str, tuple[int, Any]], says: str
) -> None:
    ended = run(answers)
    assert ended.returncode == 1
    assert ended.stderr.startswith(says)
    assert "Traceback" not in ended.stderr


REACHED = "proved: the gateway reaches a Triton whose models answer"


def test_without_a_key_it_says_that_nothing_was_generated() -> None:
    ended = run({**TRAITS, "/status": (401, {})})
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == [
        REACHED,
        "not proved: that it generates, and steers, which takes test.apiKeySecret",
    ]


def test_where_a_steered_request_is_answered_it_says_so() -> None:
    ended = run({**TRAITS, "/api/v1/generate": (200, {})})
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == [
        REACHED,
        "proved: a request is steered by sarcasm, one of 1 traits",
    ]

"""What `helm test` runs, where a release serves a model that none of its vectors fits."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.unit.deploy.helm import CHART

TRAITS = {"/health/ready": (200, {}), "/status": (200, {"available_traits": ["sarcasm"]})}


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ({**TRAITS, "/status": (200, {"available_traits": []})}, "there are no traits"),
        (
            {**TRAITS, "/api/v1/generate": (400, {"message": "unknown trait"})},
            'a request steered by sarcasm is refused: {"message": "unknown trait"}',
        ),
        ({"/health/ready": (503, {})}, "nothing is generated: HTTP Error 503"),
    ],
)
def test_it_fails_where_no_request_could_be_steered(
    answers: dict[str, tuple[int, Any]], says: str
) -> None:
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
    code = (CHART / "files" / "steers.py").read_text()
    ended = subprocess.run(
        [sys.executable, "-c", code, f"http://127.0.0.1:{server.server_port}"],
        capture_output=True,
        text=True,
    )
    server.shutdown()
    server.server_close()
    assert ended.returncode == 1
    assert ended.stderr.startswith(says)
    assert "Traceback" not in ended.stderr

"""What a container's health check makes of a server that is well, ill, and away."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def exit_codes(arguments: list[str], variable: str, path: str) -> list[int]:
    """Returns how a check ends where a path says 200 and 503, and where nothing listens.

    Args:
        arguments: What follows the interpreter's name in the check.
        variable: The variable that has the server's port.
        path: The only one that the server knows.
    """
    statuses = [200, 503]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses[0] if self.path == path else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Prints nothing."""

    def ended() -> int:
        return subprocess.run([sys.executable, *arguments], env=environment).returncode

    codes = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environment = {
            **os.environ,
            variable: str(server.server_port),
            "http_proxy": "http://127.0.0.1:1",
        }
        while statuses:
            codes.append(ended())
            statuses.pop(0)
        server.shutdown()
    return [*codes, ended()]

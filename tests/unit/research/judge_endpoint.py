"""An endpoint for judges that answers as a test tells it, on a port."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from persona_research.judges.endpoint import OpenAIJudge

Reply = Callable[[int, dict[str, Any]], tuple[int, dict[str, str], Any]]
"""Makes a status, headers and a body, JSON or bytes, of the number of the request and its body."""


class Endpoint:
    """An OpenAI-compatible endpoint that answers as it is told and notes what it saw."""

    def __init__(self, reply: Reply) -> None:
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                number = endpoint.enter(body, self.headers.get("authorization", ""))
                status, headers, content = reply(number, body)
                payload = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status if self.path == "/v1/chat/completions" else 404)
                if "transfer-encoding" not in headers:
                    headers = {**headers, "content-length": str(len(payload))}
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(payload)
                endpoint.leave()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )
        self._thread.start()

    def enter(self, body: dict[str, Any], key: str) -> int:
        with self._lock:
            self.requests.append(body)
            self.keys.add(key)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            return len(self.requests)

    def leave(self) -> None:
        with self._lock:
            self._at_once -= 1

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def endpoint(reply: Reply) -> Iterator[Endpoint]:
    server = Endpoint(reply)
    try:
        yield server
    finally:
        server.close()


def says(text: str | None) -> tuple[int, dict[str, str], Any]:
    return 200, {}, {"choices": [{"message": {"role": "assistant", "content": text}}]}


def judge_at(server: Endpoint, **options: Any) -> OpenAIJudge:
    return OpenAIJudge("m", base_url=server.url, api_key="k3y", first_wait=0.01, **options)

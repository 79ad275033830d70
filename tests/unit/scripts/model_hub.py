"""A stand-in for the model hub: what `huggingface_hub` asks it for, and what it answers."""

from __future__ import annotations

import hashlib
import json
import re
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MODEL = "team/model"
COMMIT, OLD_COMMIT = "a" * 40, "b" * 40


class ModelHub:
    """One model with two commits, the newer of which is `main`.

    Attributes:
        files: What each commit has.
        asked: The methods and paths of all requests, as they came.
        refusal: A status for every request, or 0.
    """

    def __init__(self) -> None:
        self.files = {
            commit: {"config.json": b"{}", "model.safetensors": commit.encode() * 50_000}
            for commit in (COMMIT, OLD_COMMIT)
        }
        self.asked: list[str] = []
        self.refusal = 0


@contextmanager
def model_hub(certificate: Path | None = None) -> Iterator[tuple[ModelHub, str]]:
    """Runs a hub; yields it and its address.

    Args:
        certificate: A file of a certificate and its key, to speak TLS.
    """
    hub = ModelHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub, f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def make_certificate(folder: Path) -> Path:
    """Returns a file of a certificate for 127.0.0.1, signed by itself, and of its key."""
    file = folder / "hub.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            "-subj", "/CN=hub", "-addext", "subjectAltName=IP:127.0.0.1",
            "-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem"),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    parts = ("certificate.pem", "key.pem")
    file.write_text("".join((folder / part).read_text() for part in parts))
    return file


def _handler(hub: ModelHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def _answer(self) -> None:
            hub.asked.append(f"{self.command} {self.path}")
            # A proxy is asked for whole addresses.
            status, headers, body = _answer_of(hub, re.sub(r"^http://[^/]*", "", self.path))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    return Handler


def _answer_of(hub: ModelHub, path: str) -> tuple[int, dict[str, str], bytes]:
    """Returns the status, headers and body for a path."""
    if hub.refusal:
        return hub.refusal, {}, b""
    if asked := re.match(rf"/{MODEL}/resolve/(\w+)/(.+)", path):
        body = hub.files[asked[1]][asked[2]]
        return 200, {"ETag": f'"{_digest(body)}"', "X-Repo-Commit": asked[1]}, body
    asked = re.match(rf"/api/models/{MODEL}/(tree|revision)/(\w+)", path)
    if not asked:
        return 404, {"X-Error-Code": "RepoNotFound"}, b""
    commit = COMMIT if asked[2] == "main" else asked[2]
    if commit not in hub.files:
        return 404, {"X-Error-Code": "RevisionNotFound"}, b""
    if asked[1] == "tree":
        return 200, {}, json.dumps(_tree(hub.files[commit])).encode()
    return 200, {}, json.dumps({"id": MODEL, "sha": commit, "siblings": []}).encode()


def _tree(files: dict[str, bytes]) -> list[dict[str, object]]:
    return [
        {"type": "file", "path": name, "oid": _digest(content), "size": len(content)}
        for name, content in files.items()
    ]


def _digest(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()

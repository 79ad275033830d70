"""The pod's script tells a stand-in for RunPod what it should, and nobody a secret."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.unit.deploy.deployed_settings import gateway_variables, triton_variables
from triton_models.settings import DEFAULT_MODEL, REPOSITORY_ROOT

SCRIPT = REPOSITORY_ROOT / "deploy" / "runpod" / "pod.py"
IMAGE = "registry.example.com/persona-pod:1.0"
ACCOUNT_KEY, HASH = "account-secret", "ab" * 32


class RunPod:
    """What was asked, and what to answer."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str, Any]] = []
        self.status = 200
        self.answer: Any = {"id": "pod1", "env": {"API_KEYS": HASH}}


@pytest.fixture
def runpod() -> Iterator[tuple[RunPod, str]]:
    """A server, and its address."""
    state = RunPod()

    class Handler(BaseHTTPRequestHandler):
        def _take(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size)) if size else None
            state.asked.append((self.command, self.path, self.headers["Authorization"] or "", body))
            payload = json.dumps(state.answer).encode()
            self.send_response(state.status)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = do_DELETE = _take  # noqa: N815

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield state, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A file with an entry."""
    path = tmp_path / "keys.json"
    path.write_text(json.dumps([{"name": "a", "role": "user", "sha256": HASH}]))
    return path


def pod(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
    )


def test_a_pod_is_created_with_what_the_template_and_the_command_line_say(
    runpod: tuple[RunPod, str], keys: Path
) -> None:
    state, address = runpod
    ended = pod(
        "create", "--image", IMAGE, "--keys", str(keys), "--gpu", "NVIDIA L40S", "--gpus", "2",
        "--registry", "credential", "--env", "MAX_BATCH_ROWS=64",
        RUNPOD_API=address, RUNPOD_API_KEY=ACCOUNT_KEY,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "pod1  https://pod1-8000.proxy.runpod.net\n"
    ((method, path, authorization, body),) = state.asked
    assert (method, path, authorization) == ("POST", "/pods", f"Bearer {ACCOUNT_KEY}")
    assert (body["image"], body["registry"]) == (IMAGE, "credential")
    # Hosts whose driver is as new as that or newer, not that alone.
    assert body["gpu"] == {"id": "NVIDIA L40S", "count": 2, "minCudaVersion": "13.0"}
    assert body["env"]["MODEL_NAME"] == DEFAULT_MODEL
    assert body["env"]["MAX_BATCH_ROWS"] == "64"
    assert json.loads(body["env"]["API_KEYS"])[0]["sha256"] == HASH
    assert set(body["env"]) <= triton_variables() | gateway_variables()
    # Compiled kernels stay with the volume.
    volume = Path(body["mounts"]["persistent"]["path"])
    assert volume in Path(body["env"]["TRITON_CACHE_DIR"]).parents
    # What the proxy does to long answers is said where it is met.
    assert '100 s: ask for long answers with "stream": true' in ended.stderr


def test_a_network_volume_stands_in_for_the_pod_s_own(
    runpod: tuple[RunPod, str], keys: Path
) -> None:
    state, address = runpod
    arguments = ("create", "--image", IMAGE, "--keys", str(keys), "--network-volume", "vol")
    assert pod(*arguments, RUNPOD_API=address, RUNPOD_API_KEY=ACCOUNT_KEY).returncode == 0
    body = state.asked[0][3]
    assert body["mounts"] == {"network": [{"volumeId": "vol", "path": "/data"}]}
    assert "registry" not in body


def test_a_dry_run_asks_nobody_and_shows_no_secret(keys: Path) -> None:
    ended = pod("create", "--image", IMAGE, "--keys", str(keys), "--dry-run")
    assert ended.returncode == 0
    assert json.loads(ended.stdout)["image"] == IMAGE
    assert HASH not in ended.stdout


@pytest.mark.parametrize(
    ("action", "method", "path", "sent"),
    [
        ("show", "GET", "/pods/pod1", None),
        ("stop", "POST", "/pods/pod1/action", {"action": "stop"}),
        ("start", "POST", "/pods/pod1/action", {"action": "start"}),
        ("remove", "DELETE", "/pods/pod1", None),
    ],
)
def test_pods_are_looked_after(
    runpod: tuple[RunPod, str], action: str, method: str, path: str, sent: Any
) -> None:
    state, address = runpod
    ended = pod(action, "pod1", RUNPOD_API=address, RUNPOD_API_KEY=ACCOUNT_KEY)
    assert ended.returncode == 0
    assert state.asked[0][:2] == (method, path)
    assert state.asked[0][3] == sent
    assert HASH not in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["create", "--image", IMAGE], "give --keys"),
        (["create"], "name the image"),
        (["create", "--image", IMAGE, "--env", "A"], "NAME=VALUE"),
        (
            ["create", "--image", IMAGE, "--keys", "/nowhere"],
            "/nowhere cannot be read: No such file",
        ),
        (["show", "pod1"], "set RUNPOD_API_KEY"),
    ],
)
def test_what_is_missing_is_said_in_a_line(arguments: list[str], says: str) -> None:
    ended = pod(*arguments)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: ")
    assert says in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_refusal_is_passed_on_without_the_account_s_key(
    runpod: tuple[RunPod, str], keys: Path
) -> None:
    state, address = runpod
    state.status, state.answer = 401, {"error": "unknown key"}
    arguments = ("create", "--image", IMAGE, "--keys", str(keys))
    ended = pod(*arguments, RUNPOD_API=address, RUNPOD_API_KEY=ACCOUNT_KEY)
    assert ended.returncode == 1
    assert "RunPod refuses with 401" in ended.stderr
    assert "unknown key" in ended.stderr
    assert ACCOUNT_KEY not in ended.stderr + ended.stdout

"""What `helm test` runs, against real gateways: it says what it proves, and no more."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from launcher.settings import ROOT
from launcher.stack import Stack
from tests.e2e.demo import TRAITS
from tests.e2e.gateways import gateway
from triton_models.settings import REPOSITORY_ROOT

SCRIPT = ROOT / "deploy" / "helm" / "persona" / "files" / "steers.py"
KEY = "persona_" + "k" * 40
ENTRY = {"name": "a", "role": "user", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}


def steers(url: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs it as the pod does, by its text."""
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.read_text(), url],
        env={**os.environ, **variables},
        cwd=REPOSITORY_ROOT,
        capture_output=True,
        text=True,
    )


def test_a_steered_request_is_proved_where_nobody_needs_a_key(stack: Stack) -> None:
    ended = steers(stack.settings.gateway_url)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.endswith(f"one of {len(TRAITS)} traits\n")


def test_with_keys_it_proves_steering_by_one_and_says_what_it_cannot_without(
    stack: Stack, tmp_path: Path
) -> None:
    settings = {"TRITON_URL": stack.settings.grpc_address, "API_KEYS": json.dumps([ENTRY])}
    with gateway(tmp_path, dict(os.environ), **settings) as running:
        without = steers(running.url)
        assert without.returncode == 0
        assert "not proved: that it generates, and steers" in without.stdout
        with_key = steers(running.url, PERSONA_API_KEY=KEY)
        assert with_key.returncode == 0
        assert "not proved" not in with_key.stdout
        assert "proved: a request is steered by" in with_key.stdout
        wrong = steers(running.url, PERSONA_API_KEY="persona_" + "w" * 40)
        assert wrong.returncode == 1
        assert wrong.stderr.strip() == "/status answers 401"


def test_a_gateway_that_is_not_there_fails_it() -> None:
    ended = steers("http://127.0.0.1:9")
    assert ended.returncode == 1
    assert ended.stderr.startswith("no model answers: ")

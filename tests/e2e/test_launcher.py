"""`scripts/serve.sh` past its set-up: what it starts, refuses, and leaves behind (nothing)."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from launcher.loopback import loopback_settings
from launcher.processes import SHARED_MEMORY, RunRecord, group_members, process_start
from launcher.settings import ROOT, StackSettings
from tests.e2e.conftest import ONE_THREAD, START_SECONDS
from tests.e2e.waiting import eventually
from triton_models.settings import DEMO_MODEL_FOLDER

KEY = "persona_" + "k" * 40


class Launcher:
    """`python -m launcher` as a process, with its output in a file."""

    def __init__(self, settings: StackSettings, **environment: str) -> None:
        self.settings = settings
        self.output = settings.run_folder / f"output-{time.monotonic_ns()}.txt"
        variables = {
            "HOST": settings.gateway_host,
            "PORT": str(settings.gateway_port),
            "TRITON_HTTP_PORT": str(settings.triton_http_port),
            "TRITON_GRPC_PORT": str(settings.triton_grpc_port),
            "TRITON_METRICS_PORT": str(settings.triton_metrics_port),
            "STATUS_PORT": str(settings.status_port),
            "TRITON_EXIT_SECONDS": "5",
            "RUN_DIR": str(settings.run_folder),
        }
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "launcher"],
                cwd=ROOT,
                env={**os.environ, **ONE_THREAD, **variables, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def text(self) -> str:
        return self.output.read_text()

    def wait_until_ready(self) -> RunRecord:
        deadline = time.monotonic() + START_SECONDS
        while "Stop with Ctrl-C." not in self.text():
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.1)
        return self.record()

    def record(self) -> RunRecord:
        record = RunRecord.read(self.settings.run_folder / "stack.json")
        assert record is not None
        return record

    def refusal(self) -> str:
        """Waits for it to end with an error, and returns what it said."""
        try:
            assert self.process.wait(60) == 1
        finally:
            self.stop()
        return self.text()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)


@pytest.fixture
def settings(tmp_path: Path) -> StackSettings:
    return loopback_settings(tmp_path, START_SECONDS)


@pytest.fixture
def launcher(settings: StackSettings) -> Iterator[Launcher]:
    launcher = Launcher(settings)
    yield launcher
    launcher.stop()


def processes_of(record: RunRecord) -> list[int]:
    return [pid for leader, _ in record.leaders for pid in group_members(leader)]


def shared_memory_of(record: RunRecord) -> list[Path]:
    return list(SHARED_MEMORY.glob(f"{record.shared_memory_prefix}*"))


def test_it_says_what_it_does_serves_and_leaves_nothing_behind_on_ctrl_c(
    launcher: Launcher,
) -> None:
    status_url = launcher.settings.status_url

    def state() -> str:
        try:
            return str(httpx.get(f"{status_url}/status").json()["state"])
        except httpx.TransportError:
            return ""

    assert eventually(lambda: state() == "starting")
    assert httpx.get(f"{status_url}/ready").status_code == 503
    assert httpx.get(f"{status_url}/live").status_code == 200
    record = launcher.wait_until_ready()
    assert httpx.get(f"{status_url}/ready").status_code == 200

    url = launcher.settings.gateway_url
    assert url in launcher.text()
    body = {"prompt": "Hello there", "trait": "sarcasm", "scalar": 1.0, "max_tokens": 5}
    assert httpx.post(f"{url}/api/v1/generate", json=body).json()["success"]
    assert processes_of(record)
    assert shared_memory_of(record)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{launcher.settings.http_url}/v2/health/live")
    assert "Triton HTTP   off (TRITON_HTTP=true turns it on)" in launcher.text()
    assert "for all programs on this machine, without API keys or policy" in launcher.text()
    assert "Traits        flattery, hallucination, " in launcher.text()

    second = Launcher(launcher.settings)
    assert f"it is running already (process {launcher.process.pid}," in second.refusal()
    assert httpx.get(f"{url}/health").status_code == 200

    launcher.process.send_signal(signal.SIGINT)
    assert launcher.process.wait(60) == 0
    assert launcher.text().endswith("stopped\n")
    assert processes_of(record) == []
    assert shared_memory_of(record) == []
    assert not (launcher.settings.run_folder / "stack.json").exists()


@pytest.fixture(scope="module")
def protected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    """One with a key, a policy and Triton's HTTP port, which the last of its tests kills."""
    entry = {"name": "a", "role": "user", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}
    launcher = Launcher(
        loopback_settings(tmp_path_factory.mktemp("run"), START_SECONDS),
        TRITON_HTTP="true",
        POLICY_FILE=str(ROOT / "deploy" / "policy.example.json"),
        API_KEYS=json.dumps([entry]),
    )
    try:
        launcher.wait_until_ready()
        yield launcher
    finally:
        launcher.stop()


def test_nobody_generates_past_keys_and_policy_without_a_secret(protected: Launcher) -> None:
    settings = protected.settings
    assert "for all programs on this machine with TRITON_ACCESS_KEY)" in protected.text()
    assert "web pages" not in protected.text()
    body = {"text_input": "Hi", "max_tokens": 1}
    refused = httpx.post(f"{settings.http_url}/v2/models/persona/generate", json=body)
    assert refused.status_code == 403
    answer = httpx.post(
        f"{settings.gateway_url}/api/v1/generate/baseline",
        json={"prompt": "Hi", "max_tokens": 1},
        headers={"X-API-Key": KEY},
        timeout=60,
    )
    assert answer.status_code == 200


def test_one_after_a_killed_one_cleans_up_and_starts_again_what_dies_but_not_for_ever(
    protected: Launcher,
) -> None:
    left = protected.record()
    protected.process.kill()
    protected.process.wait()
    settings = protected.settings
    launcher = Launcher(settings, RESTART_BUDGET="1")
    try:
        record = launcher.wait_until_ready()
        assert processes_of(left) == []
        assert shared_memory_of(left) == []
        url = f"{settings.gateway_url}/health/ready"

        def is_ready() -> bool:
            try:
                return httpx.get(url, timeout=30).status_code == 200
            except httpx.TransportError:
                return False

        os.kill(record.leaders[1][0], signal.SIGKILL)
        said = "the gateway ended with status -9: starting it again"
        assert eventually(lambda: said in launcher.text())
        assert eventually(is_ready)

        os.kill(record.leaders[0][0], signal.SIGKILL)
        said = "Triton ended with status -9: starting it again"
        assert eventually(lambda: said in launcher.text())
        assert eventually(lambda: launcher.text().count("Triton serves after") == 2)
        assert eventually(is_ready)

        record = launcher.record()
        os.kill(record.leaders[0][0], signal.SIGKILL)
        refusal = launcher.refusal()
        assert "Triton ended with status -9; the end of" in refusal
        assert "started again 1 times in 10 minutes, RESTART_BUDGET" in refusal
        assert processes_of(record) == []
        assert shared_memory_of(record) == []
    finally:
        launcher.stop()


def test_a_control_key_that_cannot_be_used_is_refused_and_not_shown(
    settings: StackSettings,
) -> None:
    refusal = Launcher(settings, TRITON_CONTROL_KEY="a:b").refusal()
    assert "TRITON_CONTROL_KEY cannot be used: use 16 to 256" in refusal
    assert "a:b" not in refusal


def test_a_taken_port_is_refused_with_its_remedy(settings: StackSettings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", settings.triton_grpc_port))
        taken.listen()
        refusal = Launcher(settings).refusal()
    assert f"port {settings.triton_grpc_port} on 127.0.0.1 cannot be used" in refusal
    assert "choose another with TRITON_GRPC_PORT" in refusal


def test_a_missing_model_is_refused_with_its_remedy(settings: StackSettings) -> None:
    cache = str(settings.run_folder / "models")
    name = "Qwen/Qwen2.5-3B-Instruct"
    refusal = Launcher(settings, MODEL_NAME=name, MODEL_CACHE_DIR=cache).refusal()
    assert "fetch it with '.venv/bin/python scripts/download_models.py Qwen/Qwen2.5-3B" in refusal


def test_a_model_that_cannot_be_loaded_shows_why(settings: StackSettings, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(DEMO_MODEL_FOLDER, folder)
    (folder / "model.safetensors").write_bytes(b"cut short")
    refusal = Launcher(settings, MODEL_NAME=str(folder)).refusal()
    assert "Triton could not load its models:" in refusal
    assert "steered_qwen: " in refusal
    assert "Traceback" not in refusal


def test_a_bad_variable_is_refused_by_name(settings: StackSettings) -> None:
    assert "MAX_TOKENS is '-3': use an integer" in Launcher(settings, MAX_TOKENS="-3").refusal()


def test_an_interrupted_start_leaves_nothing_behind(launcher: Launcher) -> None:
    assert eventually(lambda: (launcher.settings.run_folder / "stack.json").exists())
    record = launcher.record()
    launcher.process.send_signal(signal.SIGINT)
    assert launcher.process.wait(60) == 0
    assert processes_of(record) == []
    assert shared_memory_of(record) == []


def test_a_stale_record_ends_nobody_else_s_processes(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger:
        RunRecord((1, 0), [(stranger.pid, 12345)], "persona_stale_", "http://x").clean_up()
        assert stranger.poll() is None
        started = process_start(stranger.pid)
        assert started
        RunRecord((1, 0), [(stranger.pid, started)], "persona_stale_", "http://x").clean_up()
        assert stranger.wait(5) == -signal.SIGKILL

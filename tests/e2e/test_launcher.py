"""`scripts/serve.sh` past its set-up: what it starts, refuses, and leaves behind (nothing)."""

from __future__ import annotations

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
from launcher.stack import MAX_RESTARTS
from tests.e2e.conftest import ONE_THREAD, START_SECONDS
from tests.e2e.waiting import eventually
from triton_models.settings import DEMO_MODEL_FOLDER


class Launcher:
    """`python -m launcher` as a process, with its output in a file."""

    def __init__(self, settings: StackSettings, **environment: str) -> None:
        self.settings = settings
        self.output = settings.run_folder / "output.txt"
        variables = {
            "HOST": settings.gateway_host,
            "PORT": str(settings.gateway_port),
            "TRITON_HTTP_PORT": str(settings.triton_http_port),
            "TRITON_GRPC_PORT": str(settings.triton_grpc_port),
            "TRITON_METRICS_PORT": str(settings.triton_metrics_port),
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


def test_it_serves_and_ctrl_c_leaves_nothing_behind(launcher: Launcher) -> None:
    record = launcher.wait_until_ready()
    url = launcher.settings.gateway_url
    assert url in launcher.text()
    body = {"prompt": "Hello there", "trait": "sarcasm", "scalar": 1.0, "max_tokens": 5}
    assert httpx.post(f"{url}/api/v1/generate", json=body).json()["success"]
    assert processes_of(record)
    assert shared_memory_of(record)

    launcher.process.send_signal(signal.SIGINT)
    assert launcher.process.wait(60) == 0
    assert launcher.text().endswith("stopped\n")
    assert processes_of(record) == []
    assert shared_memory_of(record) == []
    assert not (launcher.settings.run_folder / "stack.json").exists()


def test_triton_s_http_port_is_closed_and_what_its_grpc_port_leaves_open_is_said(
    launcher: Launcher,
) -> None:
    launcher.wait_until_ready()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{launcher.settings.http_url}/v2/health/live")
    assert "Triton HTTP   off (TRITON_HTTP=true turns it on)" in launcher.text()
    assert "for all programs on this machine, without API keys or policy" in launcher.text()
    assert "WARNING" not in launcher.text()


def test_keys_and_policy_that_triton_s_ports_do_not_know_are_warned_of(
    settings: StackSettings,
) -> None:
    policy = str(ROOT / "deploy" / "policy.example.json")
    launcher = Launcher(settings, TRITON_HTTP="true", POLICY_FILE=policy, API_KEYS="[]")
    try:
        launcher.wait_until_ready()
        said = "WARNING: API_KEYS, POLICY_FILE: for the gateway alone. Triton's gRPC"
        assert eventually(lambda: said in launcher.text())
        assert httpx.get(f"{settings.http_url}/v2/health/live").status_code == 200
        assert settings.http_url in launcher.text()
    finally:
        launcher.stop()


def test_a_control_key_that_cannot_be_used_is_refused_and_not_shown(
    settings: StackSettings,
) -> None:
    refusal = Launcher(settings, TRITON_CONTROL_KEY="a:b").refusal()
    assert "TRITON_CONTROL_KEY cannot be used: use 16 to 256 letters" in refusal
    assert "a:b" not in refusal


def test_a_second_one_is_refused_and_one_after_a_killed_one_cleans_up(launcher: Launcher) -> None:
    record = launcher.wait_until_ready()
    second = Launcher(launcher.settings)
    assert f"it is running already (process {launcher.process.pid}," in second.refusal()
    assert httpx.get(f"{launcher.settings.gateway_url}/health").status_code == 200

    launcher.process.kill()
    launcher.process.wait()
    third = Launcher(launcher.settings)
    try:
        third.wait_until_ready()
        assert processes_of(record) == []
        assert shared_memory_of(record) == []
    finally:
        third.stop()
    assert third.process.returncode == 0


def test_a_triton_that_dies_is_started_again_but_not_for_ever(launcher: Launcher) -> None:
    record = launcher.wait_until_ready()
    url = f"{launcher.settings.gateway_url}/health/ready"
    os.kill(record.leaders[0][0], signal.SIGKILL)
    assert eventually(lambda: "Triton ended with status -9: starting it again" in launcher.text())
    assert eventually(lambda: httpx.get(url, timeout=30).status_code == 200)
    for _ in range(MAX_RESTARTS):
        previous = record.leaders[0][0]
        assert eventually(lambda old=previous: launcher.record().leaders[0][0] != old)  # type: ignore[misc]
        record = launcher.record()
        os.kill(record.leaders[0][0], signal.SIGKILL)
    assert "Triton ended with status -9; the end of" in launcher.refusal()
    assert processes_of(record) == []
    assert shared_memory_of(record) == []


def test_a_gateway_that_dies_ends_triton_too_and_says_so(launcher: Launcher) -> None:
    record = launcher.wait_until_ready()
    os.kill(record.leaders[1][0], signal.SIGKILL)
    assert "the gateway ended with status -9; the end of" in launcher.refusal()
    assert processes_of(record) == []
    assert shared_memory_of(record) == []


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

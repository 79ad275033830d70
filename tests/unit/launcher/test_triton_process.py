"""How Triton is started, with a stand-in for its process."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from launcher.private_arguments import PrivacyError
from launcher.processes import SHARED_MEMORY, remove_shared_memory
from launcher.settings import StackSettings
from launcher.triton_process import TritonProcess
from tests.e2e.waiting import eventually
from triton_models import control

KEY = "k" * 40
PREFIX = f"persona_test_{os.getpid()}_"


class Process:
    """A process that is not started, on a machine that keeps arguments private or does not."""

    pid = os.getpid()
    private_works = True

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path | None,
        private: Sequence[str] = (),
    ) -> None:
        if private and not self.private_works:
            raise PrivacyError("the kernel refuses")
        self.command, self.environment, self.private = command, environment, private

    def stop(self, patience_seconds: float) -> None:
        pass


SERVERS: list[TritonProcess] = []
"""What a test has started."""


def started(
    folder: Path,
    said: list[str],
    triton_http: bool = False,
    access_key: str = "",
    **changes: Any,
) -> Process:
    settings = StackSettings(run_folder=folder, triton_http=triton_http, **changes)
    server = TritonProcess(settings, os.environ, PREFIX, KEY, access_key, (), said.append)
    SERVERS.append(server)
    process = server.start()
    assert isinstance(process, Process)
    return process


@pytest.fixture(autouse=True)
def _no_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("launcher.triton_process.ManagedProcess", Process)
    yield
    while SERVERS:
        SERVERS.pop().stop()


def test_control_takes_the_operator_s_key_as_a_private_argument(tmp_path: Path) -> None:
    said: list[str] = []
    process = started(tmp_path, said)
    assert process.private == control.restrictions(KEY)
    assert KEY not in " ".join(process.command)
    assert said == []


def test_where_no_argument_is_private_control_is_restricted_still_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Process, "private_works", False)
    said: list[str] = []
    process = started(tmp_path, said)
    assert set(control.restrictions(KEY)) <= set(process.command)
    (warning,) = said
    assert warning.startswith("warning: the kernel refuses: other users of this machine can read")
    assert "secrets" in warning
    assert "allow it (kernel.yama.ptrace_scope 0 or 1, " in warning
    assert "(mount /proc with hidepid=2)" in warning
    assert KEY not in warning


def test_the_http_port_is_opened_only_if_it_is_asked_for(tmp_path: Path) -> None:
    closed = started(tmp_path, [])
    assert "--allow-http=false" in closed.command
    opened = started(tmp_path, [], triton_http=True)
    assert "--allow-http=false" not in opened.command
    assert "--http-address=127.0.0.1" in opened.command


def test_inference_takes_a_secret_where_there_is_one(tmp_path: Path) -> None:
    process = started(tmp_path, [], access_key="a" * 40)
    assert process.private == control.restrictions(KEY, "a" * 40)


def test_another_server_than_the_wheel_s_needs_none_of_its_folders(tmp_path: Path) -> None:
    process = started(tmp_path, [], triton_server="tritonserver", log_files=False)
    assert process.command[0] == "tritonserver"
    assert not any(part.startswith("--backend-directory") for part in process.command)
    assert list(tmp_path.iterdir()) == []


def hiding_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "hide-memory"}


def test_shared_memory_is_hidden_while_models_load_and_after_each_start(tmp_path: Path) -> None:
    before = hiding_threads()  # other tests' servers, which may still run
    started(tmp_path, [])
    (server,) = SERVERS
    file = SHARED_MEMORY / f"{PREFIX}model"
    for _ in range(2):
        try:
            file.touch()
            file.chmod(0o644)
            # Nobody has found the server healthy or loaded a model to its end.
            assert eventually(lambda: stat.S_IMODE(file.stat().st_mode) == 0o600)
        finally:
            file.unlink(missing_ok=True)
        server.stop(patience_seconds=0)
        assert hiding_threads() == before
        server.start()


def test_shared_memory_that_no_process_names_is_removed() -> None:
    used, unused = (SHARED_MEMORY / f"{PREFIX}{name}" for name in ("used", "left"))
    command = [sys.executable, "-c", "import sys; sys.stdin.read()", used.name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as stub:
        try:
            for path in (used, unused):
                path.touch()
            remove_shared_memory(PREFIX, stub.pid)
            assert (used.exists(), unused.exists()) == (True, False)
        finally:
            used.unlink(missing_ok=True)
            unused.unlink(missing_ok=True)
            stub.communicate()

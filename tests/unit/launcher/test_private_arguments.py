"""What other users of the machine must not see: a program's secrets, and the prompts it is sent."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from launcher import private_arguments
from launcher.private_arguments import PrivacyError
from launcher.processes import SHARED_MEMORY, ManagedProcess, hide_shared_memory
from tests.e2e.waiting import eventually

SECRETS = ("--first=secret-1", "--second=secret-2 with = and a space")
PROGRAM = "import sys, time; print(*sys.argv[1:], sep='\\n', flush=True); time.sleep(60)"


def started(folder: Path) -> ManagedProcess:
    command = [sys.executable, "-c", PROGRAM, "--public"]
    return ManagedProcess("it", command, os.environ, folder / "log", private=SECRETS)


def test_a_program_gets_arguments_that_the_list_of_processes_does_not_show(tmp_path: Path) -> None:
    process = started(tmp_path)
    try:
        # From its first moment on.
        shown = Path(f"/proc/{process.pid}/cmdline").read_text().split("\0")
        assert shown[-4:] == ["--public", "(hidden)", "(hidden)", ""]
        assert eventually(lambda: len(process.output.splitlines()) == 3)
        assert process.output.splitlines() == ["--public", *SECRETS]
        assert Path(f"/proc/{process.pid}/cmdline").read_text().split("\0") == shown
    finally:
        process.stop(patience_seconds=0)


def test_a_program_with_private_arguments_ends_as_any_other(tmp_path: Path) -> None:
    process = started(tmp_path)
    assert process.running
    process.stop(patience_seconds=5)
    assert process.exit_status is not None
    assert process.exit_status < 0


def test_where_children_cannot_be_traced_nothing_is_left_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_arguments, "trace_me", lambda: None)
    pids: list[int] = []
    pass_on = private_arguments.pass_on

    def noting(pid: int, arguments: tuple[str, ...]) -> None:
        pids.append(pid)
        pass_on(pid, arguments)

    monkeypatch.setattr(private_arguments, "pass_on", noting)
    with pytest.raises(PrivacyError, match="the kernel does not allow"):
        started(tmp_path)
    assert not Path(f"/proc/{pids[0]}").exists()


def test_shared_memory_is_hidden_and_what_links_point_to_is_left_alone(tmp_path: Path) -> None:
    prefix = f"persona_test_{os.getpid()}_"
    own, link = SHARED_MEMORY / f"{prefix}own", SHARED_MEMORY / f"{prefix}link"
    elsewhere = tmp_path / "elsewhere"
    try:
        for path in (own, elsewhere):
            path.touch()
            path.chmod(0o644)
        link.symlink_to(elsewhere)
        hide_shared_memory(prefix)
        assert stat.S_IMODE(own.stat().st_mode) == 0o600
        assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o644
    finally:
        own.unlink(missing_ok=True)
        link.unlink(missing_ok=True)

"""The Triton server: its command, its process, and cleanup of what it leaves behind."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from launcher.errors import LaunchError
from launcher.private_arguments import PrivacyError
from launcher.processes import (
    ManagedProcess,
    hide_shared_memory,
    remove_shared_memory,
    runs,
    stub_models,
)
from launcher.settings import ROOT, StackSettings
from launcher.triton_files import assemble_backends, find_triton, library_path
from launcher.triton_log import load_failures
from triton_models import control
from triton_models.settings import ServerSettings

EXIT_SECONDS = 15
"""How long Triton itself waits for open requests when it is told to stop."""

_KILL_SECONDS = EXIT_SECONDS + 5

_HIDE_SECONDS = 0.05
"""How long a new file of shared memory stays as Triton makes it."""

HUGE_PAGES = "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1"
"""Makes malloc request huge pages for large allocations: a step on a CPU reads every weight once,
and takes a twentieth less time with pages of 2 MiB. They need contiguous growth, which only
malloc's first arena has."""


class TritonProcess:
    """Triton with this project's models, one `process` after another.

    While there is one, a thread hides the shared memory of each model as it appears: loading takes
    minutes, and whoever has opened a file meanwhile can read what passes through it later.

    Raises:
        ValueError: A secret is not valid; the message does not repeat it.
    """

    def __init__(
        self,
        settings: StackSettings,
        environment: Mapping[str, str],
        prefix: str,
        control_key: str,
        access_key: str,
        arguments: tuple[str, ...],
        say: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._environment = environment
        self._prefix = prefix
        self._arguments = arguments
        self._say = say
        self._private = control.restrictions(control_key, access_key)
        self.process: ManagedProcess | None = None
        self._stubs: dict[int, str] = {}
        self._hiding: threading.Thread | None = None
        self._stopped = threading.Event()

    @property
    def running(self) -> bool:
        """Whether its process is running."""
        return self.process is not None and self.process.running

    def start(self) -> ManagedProcess:
        """Starts it, without waiting for its models.

        Raises:
            LaunchError: A part of the server is missing.
        """
        program, environment = self._program()
        settings = self._settings
        http = ["--allow-http=false"]
        if settings.triton_http:
            host, port = settings.triton_host, settings.triton_http_port
            http = [f"--http-address={host}", f"--http-port={port}"]
        command = [
            *program,
            f"--model-repository={ROOT / 'model_repository'}",
            f"--backend-config=python,shm-region-prefix-name={self._prefix}",
            f"--backend-config=python,stub-timeout-seconds={settings.start_seconds:.0f}",
            "--model-control-mode=explicit",
            "--load-model=*",
            "--disable-auto-complete-config",
            *http,
            f"--grpc-address={settings.triton_host}",
            f"--grpc-port={settings.triton_grpc_port}",
            f"--metrics-address={settings.triton_host}",
            f"--metrics-port={settings.triton_metrics_port}",
            f"--exit-timeout-secs={EXIT_SECONDS}",
            *self._arguments,
        ]
        log = log_file(settings, "triton.log")
        start = partial(ManagedProcess, "Triton", environment=environment, log=log)
        try:
            self.process = start(command, private=self._private)
        except PrivacyError as error:
            self._say(
                f"warning: {error}: other users of this machine can read Triton's secrets in the "
                "list of processes: allow it (kernel.yama.ptrace_scope 0 or 1, and in a container "
                "a seccomp profile with ptrace), or hide their list (mount /proc with hidepid=2)"
            )
            self.process = start([*command, *self._private])
        self._stubs = {}
        self._stopped.clear()
        self._hiding = threading.Thread(target=self._keep_hidden, name="hide-memory", daemon=True)
        self._hiding.start()
        return self.process

    def stop(self, patience_seconds: float = _KILL_SECONDS) -> None:
        """Terminates it, kills it after `patience_seconds`, and cleans up after it."""
        if self.process:
            self.process.stop(patience_seconds)
            self._stopped.set()
            if self._hiding:
                self._hiding.join()
            remove_shared_memory(self._prefix)

    def update_stubs(self) -> None:
        """Updates the list of Python processes, and hides the shared memory of new ones at once.

        If they cannot be looked at, for example without free file descriptors, the list is empty
        until the next update: processes that a reload has ended must not be on it.
        """
        self._stubs = {}
        with suppress(OSError):
            hide_shared_memory(self._prefix)
            if self.process:
                self._stubs = stub_models(self.process.pid)

    def clear_up(self) -> None:
        """Cleans up after models whose process was killed, if it can; no model may be loading."""
        if self.process:
            with suppress(OSError):
                remove_shared_memory(self._prefix, self.process.pid)

    def dead_models(self) -> list[str]:
        """Returns the models whose Python process has ended since the last update.

        There are none if that is unknown, for example without free file descriptors.
        """
        with suppress(OSError):
            return sorted({model for pid, model in self._stubs.items() if not runs(pid)})
        return []

    def failure(self) -> LaunchError:
        """Returns the reason why it has ended, from its log."""
        assert self.process
        process = self.process
        if failures := load_failures(process.output):
            reasons = "\n".join(f"  {failure}" for failure in failures)
            return LaunchError(f"Triton could not load its models:\n{reasons}")
        return ended(process)

    def _keep_hidden(self) -> None:
        while not self._stopped.wait(_HIDE_SECONDS):
            with suppress(OSError):  # such as too many open files; the next time may do
                hide_shared_memory(self._prefix)

    def _program(self) -> tuple[list[str], dict[str, str]]:
        # The stub runs the first python3 on PATH, so that must be this environment's.
        path = f"{Path(sys.executable).parent}:{self._environment.get('PATH', '')}"
        # Triton starts an instance on each visible GPU, whatever DEVICE says.
        device = ServerSettings.read(self._environment).device
        hidden = {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}
        environment = {
            "GLIBC_TUNABLES": HUGE_PAGES,
            **self._environment,
            **hidden,
            "PATH": path,
            "PYTHONUNBUFFERED": "1",
        }
        if self._settings.triton_server:
            return [self._settings.triton_server], environment
        files = find_triton()
        backends = self._settings.run_folder / "backends"
        assemble_backends(files, backends)
        environment["LD_LIBRARY_PATH"] = library_path(files)
        return [str(files.executable), f"--backend-directory={backends}"], environment


def log_file(settings: StackSettings, name: str) -> Path | None:
    """Returns the path of a server's log, `None` if logs are not written to files.

    Raises:
        LaunchError: Its folder cannot be created.
    """
    if not settings.log_files:
        return None
    folder = settings.run_folder / "logs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LaunchError(f"the folder {folder} cannot be created: {error.strerror}") from error
    return folder / name


def ended(process: ManagedProcess) -> LaunchError:
    """Returns the error for a server that has ended unexpectedly."""
    message = f"{process.name} ended with status {process.exit_status}"
    if process.log:
        message += f"; the end of {process.log}:\n{process.last_lines()}"
    return LaunchError(message)

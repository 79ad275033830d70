"""Triton and the gateway together: started, watched, stopped."""

from __future__ import annotations

import os
import sys
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType

from launcher.errors import LaunchError, LaunchInterrupted
from launcher.private_arguments import PrivacyError
from launcher.processes import (
    PREFIX,
    ManagedProcess,
    RunRecord,
    hide_shared_memory,
    process_start,
    remove_shared_memory,
)
from launcher.settings import ROOT, StackSettings, check_ports
from launcher.triton_files import assemble_backends, find_triton, library_path
from launcher.triton_log import load_failures
from triton_models import control
from triton_models.model.errors import ModelNotFoundError, UnsupportedModelError
from triton_models.model.folder import find_model
from triton_models.settings import SettingsError, read_settings

TRITON_EXIT_SECONDS = 20

HUGE_PAGES = "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1"
"""Makes large allocations ask for huge pages: a CPU's step reads every weight once, and takes a
twentieth less time where it finds them in pages of 2 MiB. Only malloc's first arena grows in one
piece, as that takes."""

GATEWAY_DRAIN_SECONDS = 5
GATEWAY_EXIT_SECONDS = GATEWAY_DRAIN_SECONDS + 5
WATCH_SECONDS = 0.2
PROBE_SECONDS = 10
MAX_RESTARTS = 3
RESTART_WINDOW_SECONDS = 300

Say = Callable[[str], None]


class Stack:
    """One Triton and one gateway. Use it as a context manager, which stops both.

    Args:
        settings: Addresses and folders.
        environment: Variables for both servers, on top of this process's own.
        say: Takes lines about the progress.
        interrupted: Set it, from a signal handler say, to end `start` and `watch`.

    Attributes:
        control_key: What Triton asks for before it loads a model, the environment's or a new one.
    """

    def __init__(
        self,
        settings: StackSettings,
        environment: Mapping[str, str] | None = None,
        say: Say = print,
        interrupted: threading.Event | None = None,
    ) -> None:
        self.settings = settings
        self._interrupted = interrupted or threading.Event()
        self._environment = {**os.environ, **(environment or {})}
        self._say = say
        self.control_key = self._environment.get(control.VARIABLE) or control.new_key()
        self._record_path = settings.run_folder / "stack.json"
        self._prefix = f"{PREFIX}{os.getpid()}_{settings.triton_grpc_port}_"
        self.triton: ManagedProcess | None = None
        self.gateway: ManagedProcess | None = None

    def __enter__(self) -> Stack:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Starts both servers and returns once a real generation has succeeded.

        Raises:
            LaunchError: Something is missing or taken, or a server does not come up.
            LaunchInterrupted: `interrupted` was set.
        """
        self._make_way()
        model = self._find_model()
        check_ports(self.settings)
        self._say(f"starting Triton with the model {model} ...")
        self.start_triton()
        # Triton opens this port last, after its models are loaded.
        self._wait_for("Triton", self.triton, self.settings.metrics_url)
        hide_shared_memory(self._prefix)
        self._say("Triton is up; starting the gateway ...")
        self.start_gateway()
        self._wait_for("the gateway", self.gateway, f"{self.settings.gateway_url}/health/ready")

    def start_triton(self) -> None:
        """Starts Triton without waiting for it."""
        files = find_triton()
        backends = self.settings.run_folder / "backends"
        assemble_backends(files, backends)
        settings = self.settings
        command = [
            str(files.executable),
            f"--model-repository={ROOT / 'model_repository'}",
            f"--backend-directory={backends}",
            f"--backend-config=python,shm-region-prefix-name={self._prefix}",
            f"--backend-config=python,stub-timeout-seconds={settings.start_seconds:.0f}",
            "--model-control-mode=explicit",
            "--load-model=*",
            "--disable-auto-complete-config",
            *self._http_arguments(),
            f"--grpc-address={settings.triton_host}",
            f"--grpc-port={settings.triton_grpc_port}",
            f"--metrics-address={settings.triton_host}",
            f"--metrics-port={settings.triton_metrics_port}",
            f"--exit-timeout-secs={TRITON_EXIT_SECONDS - 5}",
        ]
        try:
            private = control.restrictions(self.control_key)
        except ValueError as error:
            raise LaunchError(f"{control.VARIABLE} cannot be used: {error}") from error
        # The stub runs the first python3 on PATH, so that must be this environment's.
        # Triton makes an instance for each GPU that it sees, whatever DEVICE says.
        hidden = {"CUDA_VISIBLE_DEVICES": ""} if self._environment.get("DEVICE") == "cpu" else {}
        environment = {
            "GLIBC_TUNABLES": HUGE_PAGES,
            **self._environment,
            **hidden,
            "PATH": f"{Path(sys.executable).parent}:{self._environment.get('PATH', '')}",
            "LD_LIBRARY_PATH": library_path(files),
            "PYTHONUNBUFFERED": "1",
        }
        log = self._log_folder() / "triton.log"
        start = partial(ManagedProcess, "Triton", environment=environment, log=log)
        try:
            self.triton = start(command, private=private)
        except PrivacyError as error:
            self._say(
                f"warning: {error}: other users of this machine can read the secret that keeps "
                "Triton's control to the gateway in the list of processes"
            )
            self.triton = start([*command, *private])
        self._write_record()

    def start_gateway(self) -> None:
        """Starts the gateway without waiting for it."""
        environment = {
            "SHUTDOWN_TIMEOUT": str(GATEWAY_DRAIN_SECONDS),
            **self._environment,
            "HOST": self.settings.gateway_host,
            "PORT": str(self.settings.gateway_port),
            "TRITON_URL": self.settings.grpc_address,
            control.VARIABLE: self.control_key,
        }
        command = [sys.executable, "-m", "gateway"]
        log = self._log_folder() / "gateway.log"
        self.gateway = ManagedProcess("the gateway", command, environment, log)
        self._write_record()

    def stop(self) -> None:
        """Stops both servers and removes what they would leave behind."""
        if self.gateway:
            self.gateway.stop(GATEWAY_EXIT_SECONDS)
        if self.triton:
            self.triton.stop(TRITON_EXIT_SECONDS)
        if self.gateway or self.triton:
            remove_shared_memory(self._prefix)
            self._record_path.unlink(missing_ok=True)

    def watch(self) -> None:
        """Starts Triton again when it ends by itself, until `interrupted` is set.

        A Python model that dies inside Triton 2.51 can take the server with it (a lock in shared
        memory that it held); the gateway answers again once the new server is up.

        Raises:
            LaunchError: The gateway has ended, or Triton again and again.
        """
        restarts: deque[float] = deque(maxlen=MAX_RESTARTS)
        while not self._interrupted.wait(WATCH_SECONDS):
            hide_shared_memory(self._prefix)
            if self.gateway and not self.gateway.running:
                raise self._ended(self.gateway)
            if self.triton and not self.triton.running:
                now = time.monotonic()
                if len(restarts) == MAX_RESTARTS and now - restarts[0] < RESTART_WINDOW_SECONDS:
                    raise self._ended(self.triton)
                restarts.append(now)
                self._say(f"Triton ended with status {self.triton.exit_status}: starting it again")
                self.triton.stop(patience_seconds=0)
                remove_shared_memory(self._prefix)
                self.start_triton()

    def _http_arguments(self) -> list[str]:
        if not self.settings.triton_http:
            return ["--allow-http=false"]
        return [
            f"--http-address={self.settings.triton_host}",
            f"--http-port={self.settings.triton_http_port}",
        ]

    def _make_way(self) -> None:
        """Cleans up after a launcher that was killed, and refuses to start beside a living one."""
        record = RunRecord.read(self._record_path)
        if record is None:
            return
        if record.launcher_runs:
            pid, _ = record.launcher
            raise LaunchError(
                f"it is running already (process {pid}, {record.gateway_url}): stop that one with "
                f"Ctrl-C or 'kill {pid}', or set RUN_DIR and the ports to run another beside it"
            )
        record.clean_up()
        self._record_path.unlink(missing_ok=True)

    def _find_model(self) -> str:
        try:
            settings = read_settings(self._environment)
            find_model(settings)
        except (SettingsError, ModelNotFoundError, UnsupportedModelError) as error:
            raise LaunchError(str(error)) from error
        return settings.shown_model_name

    def _log_folder(self) -> Path:
        folder = self.settings.run_folder / "logs"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LaunchError(f"the folder {folder} cannot be made: {error.strerror}") from error
        return folder

    def _write_record(self) -> None:
        leaders = [process.pid for process in (self.triton, self.gateway) if process]
        RunRecord(
            launcher=(os.getpid(), process_start(os.getpid()) or 0),
            leaders=[(pid, process_start(pid) or 0) for pid in leaders],
            shared_memory_prefix=self._prefix,
            gateway_url=self.settings.gateway_url,
        ).write(self._record_path)

    def _wait_for(self, name: str, process: ManagedProcess | None, url: str) -> None:
        deadline = time.monotonic() + self.settings.start_seconds
        # Not through a proxy that the environment may name: the servers are on this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while time.monotonic() < deadline:
            if process and not process.running:
                raise self._ended(process)
            try:
                with opener.open(url, timeout=PROBE_SECONDS) as answer:
                    if answer.status == 200:
                        return
            except OSError:  # urllib's errors are among them
                pass
            if self._interrupted.wait(WATCH_SECONDS):
                raise LaunchInterrupted
        raise LaunchError(
            f"{name} was not ready after {self.settings.start_seconds:.0f} seconds (START_SECONDS)"
            + (f"; the end of {process.log}:\n{process.last_lines()}" if process else "")
        )

    def _ended(self, process: ManagedProcess) -> LaunchError:
        if failures := load_failures(process.log.read_text(errors="replace")):
            reasons = "\n".join(f"  {failure}" for failure in failures)
            return LaunchError(f"{process.name} could not load its models:\n{reasons}")
        return LaunchError(
            f"{process.name} ended with status {process.exit_status}; the end of {process.log}:\n"
            f"{process.last_lines()}"
        )

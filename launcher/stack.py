"""Starts, supervises and stops one Triton and one gateway."""

from __future__ import annotations

import os
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from launcher.errors import LaunchError, LaunchInterrupted
from launcher.processes import PREFIX, ManagedProcess, RunRecord, process_start
from launcher.settings import StackSettings, TritonSecrets, check_ports
from launcher.status import StatusServer, SupervisorStatus
from launcher.supervisor import TICK_SECONDS, CrashBudget, Supervisor
from launcher.triton_calls import TritonCalls
from launcher.triton_process import TritonProcess, ended, log_file
from triton_models import control
from triton_models.model.errors import ModelMissingError, UnsupportedModelError
from triton_models.model.folder import find_model
from triton_models.settings import ServerSettings

_GATEWAY_END_SECONDS = 5
"""How long the gateway has to end once its open answers had their time."""

_PROBE_SECONDS = 10
_WAIT_SECONDS = 0.2

_PROTECTION = (
    "API_KEYS",
    "API_KEYS_FILE",
    "POLICY_FILE",
    "RATE_LIMIT_REQUESTS",
    "RATE_LIMIT_TOKENS",
    "AUDIT_LOG",
)
"""The variables of what the gateway checks or records, which a request to Triton would evade."""

Say = Callable[[str], None]


def choose_access_key(
    settings: StackSettings, environment: Mapping[str, str], *, with_gateway: bool
) -> str:
    """Returns the secret that Triton requires to generate, `""` if none.

    Without one Triton listens on loopback only, unless `triton_allow_anonymous` is set.

    Raises:
        LaunchError: Anyone who reaches Triton could generate, and nobody has allowed that.
        SettingsError: The operator's secret cannot be used.
    """
    if key := TritonSecrets.read(environment).triton_access_key:
        return key.get_secret_value()
    if with_gateway and any(environment.get(name) for name in _PROTECTION):
        return control.new_key()
    if settings.triton_on_loopback or settings.triton_allow_anonymous:
        return ""
    if with_gateway:
        return control.new_key()
    raise LaunchError(
        f"Triton would generate for anyone who can reach it on {settings.triton_host} "
        f"(TRITON_HOST): set {control.ACCESS_VARIABLE}, for its gateways as well, to a secret such "
        "as 'openssl rand -hex 32' prints (or TRITON_ALLOW_ANONYMOUS=true if anyone may)"
    )


class Stack:
    """One Triton under its supervisor, and one gateway. As a context manager it stops both.

    Args:
        environment: Variables for both servers, in addition to this process's own.
        say: Takes lines about the progress.
        interrupted: Ends `start` and `watch` when it is set, for example by a signal handler.

    Attributes:
        control_key: The secret that Triton requires to load a model, from the environment or new.
        access_key: The secret that it requires to generate, `""` if none.

    Raises:
        LaunchError: A secret is missing (see `choose_access_key`).
        SettingsError: A secret cannot be used.
    """

    def __init__(
        self,
        settings: StackSettings,
        environment: Mapping[str, str] | None = None,
        say: Say = print,
        interrupted: threading.Event | None = None,
        *,
        with_gateway: bool = True,
        triton_arguments: tuple[str, ...] = (),
    ) -> None:
        self.settings = settings
        self._interrupted = interrupted or threading.Event()
        self._environment = {**os.environ, **(environment or {})}
        self._say = say
        self._with_gateway = with_gateway
        given = TritonSecrets.read(self._environment).triton_control_key
        self._environment.pop(control.VARIABLE, None)
        self.control_key = given.get_secret_value() or control.new_key()
        self.access_key = choose_access_key(settings, self._environment, with_gateway=with_gateway)
        self._record_path = settings.run_folder / "stack.json"
        self._prefix = f"{PREFIX}{os.getpid()}_{settings.triton_grpc_port}_"
        self._server = TritonProcess(
            settings,
            self._environment,
            self._prefix,
            self.control_key,
            self.access_key,
            triton_arguments,
            say,
        )
        self._calls = TritonCalls(
            settings.grpc_address, settings.metrics_url, self.control_key, self.access_key
        )
        self.status = SupervisorStatus()
        self._supervisor = Supervisor(
            self._server, self._calls, self.status, settings, say, self._interrupted
        )
        self._gateway_budget = CrashBudget(settings.restart_budget)
        self._status_server: StatusServer | None = None
        self.gateway: ManagedProcess | None = None

    @property
    def triton(self) -> ManagedProcess | None:
        """Triton's current or last process."""
        return self._server.process

    def __enter__(self) -> Stack:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> None:
        """Starts both servers, and returns once a token was generated.

        Raises:
            LaunchError: Something is missing or in use, or a server does not start.
            SettingsError: A variable of the model server has an invalid value.
            LaunchInterrupted: `interrupted` was set.
        """
        self._make_way()
        model = self._find_model()
        settings = self.settings
        self._status_server = StatusServer(settings.status_host, settings.status_port, self.status)
        check_ports(settings, with_gateway=self._with_gateway)
        self._say(f"starting Triton with the model {model} ...")
        self.start_triton()
        if self._with_gateway:
            self._say("starting the gateway ...")
            self.start_gateway()
            self._wait_for_gateway()

    def start_triton(self) -> None:
        """Starts Triton, and returns once it has generated a token.

        Raises:
            LaunchError: It does not start.
            LaunchInterrupted: `interrupted` was set.
        """
        self._supervisor.start(started=self._write_record)

    def start_gateway(self) -> None:
        """Starts the gateway without waiting for it."""
        environment = {
            **self._environment,
            "HOST": self.settings.gateway_host,
            "PORT": str(self.settings.gateway_port),
            "SHUTDOWN_TIMEOUT": str(self.settings.gateway_exit_seconds),
            "TRITON_URL": self.settings.grpc_address,
            control.ACCESS_VARIABLE: self.access_key,
        }
        command = [sys.executable, "-m", "gateway"]
        log = log_file(self.settings, "gateway.log")
        self.gateway = ManagedProcess("the gateway", command, environment, log)
        self._write_record()

    def describe(self) -> dict[str, Any]:
        """Returns what the model says about itself, its traits and its engine.

        Raises:
            CallError: It cannot be asked.
        """
        return self._calls.describe()

    def watch(self) -> None:
        """Supervises both servers until `interrupted` is set.

        Raises:
            LaunchError: The restart budget of a server is exhausted.
        """
        while not self._interrupted.wait(TICK_SECONDS):
            self.tick()

    def tick(self) -> None:
        """Checks both servers once, and repairs or restarts them if necessary.

        Raises:
            LaunchError: The restart budget of a server is exhausted.
        """
        before = self.triton
        self._supervisor.tick()
        if self.triton is not before:
            self._write_record()
        if self.gateway and not self.gateway.running:
            if not self._gateway_budget.spend():
                raise ended(self.gateway)
            self._say(
                f"the gateway ended with status {self.gateway.exit_status}: starting it again"
            )
            self.gateway.stop(patience_seconds=0)
            self.start_gateway()

    def stop(self) -> None:
        """Stops both servers and cleans up after them."""
        if self.gateway:
            self.gateway.stop(self.settings.gateway_exit_seconds + _GATEWAY_END_SECONDS)
        self.drain()
        self._supervisor.stop()
        self._calls.close()
        if self._status_server:
            self._status_server.close()
        if self.gateway or self.triton:
            self._record_path.unlink(missing_ok=True)

    def drain(self) -> None:
        """Makes Triton refuse new requests, and waits up to `exit_seconds` for the open ones."""
        self._supervisor.drain()

    def _make_way(self) -> None:
        """Cleans up after a killed launcher, and refuses to start beside a running one."""
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
        settings = ServerSettings.read(self._environment)
        try:
            find_model(settings)
        except (ModelMissingError, UnsupportedModelError) as error:
            raise LaunchError(str(error)) from error
        return settings.shown_model_name

    def _write_record(self) -> None:
        leaders = [process.pid for process in (self.triton, self.gateway) if process]
        self.settings.run_folder.mkdir(parents=True, exist_ok=True)
        RunRecord(
            launcher=(os.getpid(), process_start(os.getpid()) or 0),
            leaders=[(pid, process_start(pid) or 0) for pid in leaders],
            shared_memory_prefix=self._prefix,
            gateway_url=self.settings.gateway_url,
        ).write(self._record_path)

    def _wait_for_gateway(self) -> None:
        url = f"{self.settings.gateway_url}/health/ready"
        deadline = time.monotonic() + self.settings.start_seconds
        # Without the environment's proxies, since the server is on this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while time.monotonic() < deadline:
            assert self.gateway
            if not self.gateway.running:
                raise ended(self.gateway)
            try:
                with opener.open(url, timeout=_PROBE_SECONDS) as answer:
                    if answer.status == 200:
                        return
            except OSError:  # includes urllib's errors
                pass
            if self._interrupted.wait(_WAIT_SECONDS):
                raise LaunchInterrupted
            self._supervisor.tick()
        raise LaunchError(
            f"the gateway was not ready after {self.settings.start_seconds:.0f} seconds "
            f"(START_SECONDS)\n{self.gateway.last_lines() if self.gateway else ''}"
        )

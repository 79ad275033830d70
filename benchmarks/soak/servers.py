"""The servers under load: the supervisor's Triton and gateway, and a second gateway beside them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.soak.processes import Process, descendants, role_of
from benchmarks.soak.wire import Reply, WireCall, exchange
from launcher.loopback import free_ports
from launcher.settings import ROOT
from triton_models.settings import DATA_ROOT

START_SECONDS = 240.0
STOP_SECONDS = 60.0
SECOND_WORKERS = 2
REQUEST_SECONDS = 60.0
"""What the gateways are told that an answer may take: a request that hangs shows soon."""

DEADLINE_SECONDS = REQUEST_SECONDS + 30.0
"""After how long a request that has not ended is lost."""

LOOK_SECONDS = 0.25
"""How exactly the time is known in which nothing is served: each look is a line in a log."""

ENGINE = "steered_qwen"
POLICY = ROOT / "deploy" / "policy.example.json"


class StartError(Exception):
    """The servers did not come up."""


@dataclass(frozen=True, slots=True)
class GatewayProcess:
    """Where requests go."""

    name: str
    port: int


@dataclass
class KeyFile:
    """The file of keys, which the gateways follow."""

    path: Path
    user: str
    admin: str

    def write(self, *more: str) -> None:
        """Writes the file anew, with more users' keys."""
        entries = [_entry("alice", "user", self.user), _entry("root", "admin", self.admin)]
        entries += [_entry(f"guest{index}", "user", key) for index, key in enumerate(more)]
        self.write_text(json.dumps(entries))

    def write_text(self, text: str) -> None:
        """Puts a text in the file's place."""
        partial = self.path.with_suffix(".partial")
        partial.write_text(text)
        partial.replace(self.path)


def make_key(seed: str) -> str:
    """Returns a key that only this test has."""
    return "persona_" + hashlib.sha256(seed.encode()).hexdigest()


@dataclass
class Servers:
    """The servers. Use it as a context manager, which stops them."""

    folder: Path
    seed: int
    keys: KeyFile = field(init=False)
    first: GatewayProcess = field(init=False)
    second: GatewayProcess = field(init=False)

    def __post_init__(self) -> None:
        first, second, http, grpc, metrics, status = free_ports(6)
        self.first, self.second = GatewayProcess("first", first), GatewayProcess("second", second)
        self.metrics_port, self.status_port = metrics, status
        self.shared_memory = f"persona_*_{grpc}_*"
        self.vectors = self.folder / "vectors"
        self.keys = KeyFile(
            self.folder / "keys.json", make_key(f"user {self.seed}"), make_key(f"admin {self.seed}")
        )
        self._environment = {
            **os.environ,
            "MODEL_NAME": "",
            "DEVICE": "cpu",
            "OMP_NUM_THREADS": "1",
            "TORCH_THREADS": "1",
            "HOST": "127.0.0.1",
            "TRITON_HOST": "127.0.0.1",
            "TRITON_HTTP_PORT": str(http),
            "TRITON_GRPC_PORT": str(grpc),
            "TRITON_METRICS_PORT": str(metrics),
            "STATUS_PORT": str(status),
            "RUN_DIR": str(self.folder / "run"),
            "START_SECONDS": str(int(START_SECONDS)),
            "TRITON_ACCESS_KEY": make_key(f"triton {self.seed}"),
            "VECTORS_DIR": str(self.vectors),
            "API_KEYS_FILE": str(self.keys.path),
            "POLICY_FILE": str(POLICY),
            "AUDIT_LOG": str(self.folder / "audit.log"),
            # Counted, and never reached.
            "RATE_LIMIT_REQUESTS": "1000000/minute",
            "RATE_LIMIT_TOKENS": "1000000000/minute",
            "REQUEST_TIMEOUT": str(REQUEST_SECONDS),
        }
        # A gateway does not start with a broken file of keys, nor with one that is about to be.
        self.keys_in_use = asyncio.Lock()
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._second: subprocess.Popen[bytes] | None = None

    @property
    def gateways(self) -> tuple[GatewayProcess, GatewayProcess]:
        """Both gateways."""
        return self.first, self.second

    @property
    def logs(self) -> list[Path]:
        """All log files of the servers; none is ever truncated."""
        return sorted([*self.folder.glob("*.log"), *self.folder.glob("run/logs/*")])

    async def __aenter__(self) -> Servers:
        try:
            await self._start()
        except BaseException:
            self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.stop)

    def processes(self) -> list[Process]:
        """Returns the processes that run, with what each is called."""
        found = []
        for popen, prefix in ((self._supervisor, ""), (self._second, "second ")):
            if popen is not None:
                for process in descendants(popen.pid):
                    found.append(role_of(process, prefix))
        return [process for process in found if process.role]

    def kill(self, role: str) -> None:
        """Kills the process of a role, as the kernel does when memory runs out.

        Raises:
            ProcessLookupError: There is none.
        """
        process = next((each for each in self.processes() if each.role == role), None)
        if process is None:
            raise ProcessLookupError(role)
        os.kill(process.pid, signal.SIGKILL)

    def start_second(self) -> None:
        """Starts the second gateway without waiting for it."""
        variables = {
            "PORT": str(self.second.port),
            "TRITON_URL": f"127.0.0.1:{self._environment['TRITON_GRPC_PORT']}",
            "WORKERS": str(SECOND_WORKERS),
            "SHUTDOWN_TIMEOUT": "5",
        }
        self._second = self._popen("gateway", "second-gateway.log", **variables)

    async def stop_second(self) -> int:
        """Ends the second gateway in good order and returns its exit status."""
        if self._second is None:
            return 0
        self._second.terminate()
        return await asyncio.to_thread(self._second.wait, STOP_SECONDS)

    async def served(self, gateway: GatewayProcess, seconds: float = START_SECONDS) -> None:
        """Waits until a gateway generates.

        Raises:
            StartError: It does not within a time.
        """
        headers = {"authorization": f"Bearer {self.keys.user}", "content-type": "application/json"}
        body = json.dumps({"prompt": "Hi", "max_tokens": 1}).encode()
        call = WireCall("POST", "/api/v1/generate/baseline", headers, body)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._supervisor is not None and self._supervisor.poll() is not None:
                raise StartError(f"the supervisor has ended: see {self.folder / 'supervisor.log'}")
            try:
                reply = await asyncio.wait_for(exchange(gateway.port, call), DEADLINE_SECONDS)
            except (OSError, asyncio.TimeoutError):
                reply = Reply()
            if reply.status == 200:
                return
            await asyncio.sleep(LOOK_SECONDS)
        raise StartError(f"the {gateway.name} gateway did not generate within {seconds:.0f} s")

    def stop(self) -> None:
        """Ends everything."""
        for popen in (self._second, self._supervisor):
            if popen is None or popen.poll() is not None:
                continue
            children = descendants(popen.pid)
            popen.terminate()
            try:
                popen.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                popen.kill()
                for child in children:
                    child.kill()
                popen.wait()

    async def _start(self) -> None:
        shutil.copytree(DATA_ROOT / "vectors", self.vectors)
        (self.folder / "run").mkdir()
        self.keys.write()
        self._supervisor = self._popen("launcher", "supervisor.log", PORT=str(self.first.port))
        await self.served(self.first)
        self.start_second()
        await self.served(self.second)

    def _popen(self, module: str, log: str, **variables: str) -> subprocess.Popen[bytes]:
        with (self.folder / log).open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", module],
                cwd=ROOT,
                env={**self._environment, **variables},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )


def _entry(name: str, role: str, key: str) -> Mapping[str, str]:
    return {"name": name, "role": role, "sha256": hashlib.sha256(key.encode()).hexdigest()}

"""A supervisor and stand-ins for Triton, its control and its health."""

from __future__ import annotations

import threading
from typing import Any, cast

from launcher.errors import LaunchError
from launcher.health import Health, HealthReport
from launcher.settings import StackSettings
from launcher.status import SupervisorStatus
from launcher.supervisor import Supervisor
from launcher.triton_calls import CallError, TritonCalls
from launcher.triton_process import TritonProcess
from triton_models.contract.tensors import PERSONA, STEERED_QWEN
from triton_models.grpc_failures import Failure, FailureKind


class Process:
    exit_status = -9


class Server:
    """A server that runs until it is ended."""

    def __init__(self) -> None:
        self.process: Process | None = None
        self.running = False
        self.starts = 0
        self.stops = 0
        self.dead: list[str] = []

    def start(self) -> None:
        self.process, self.running = Process(), True
        self.starts += 1
        self.dead = []

    def stop(self, patience_seconds: float = 20) -> None:
        self.running = False
        self.stops += 1

    def update_stubs(self) -> None:
        self.dead = []

    def clear_up(self) -> None:
        pass

    def dead_models(self) -> list[str]:
        return self.dead

    def failure(self) -> LaunchError:
        return LaunchError("Triton ended with status -9")


class Calls:
    """A server's control, and what is open there."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.open: list[int] = []
        self.refuses = False

    def unload(self, model: str) -> None:
        self.done.append(f"unload {model}")

    def load(self, model: str, seconds: float, interrupted: threading.Event) -> None:
        if self.refuses:
            raise CallError(Failure(FailureKind.OTHER), "", "it does not load")
        self.done.append(f"load {model}")

    def count_open(self) -> int:
        return self.open.pop(0) if self.open else 0


class HealthThread:
    """What a test says is found; between two looks it finds what it found last."""

    pause_seconds = 0.0
    report = HealthReport(Health.WELL)

    def __init__(self, checker: Any) -> None:
        pass

    def reports(self) -> list[HealthReport]:
        return [HealthReport(self.report.health, self.report.reason, self.report.model, 1e18)]

    def check_now(self) -> None:
        pass

    def end(self) -> None:
        pass


class Rig:
    """A supervisor and its stand-ins."""

    def __init__(self, budget: int = 2) -> None:
        self.server, self.calls, self.status = Server(), Calls(), SupervisorStatus()
        self.said: list[str] = []
        self.interrupted = threading.Event()
        settings = StackSettings(restart_budget=budget, exit_seconds=0.0)
        self.supervisor = Supervisor(
            cast(TritonProcess, self.server),
            cast(TritonCalls, self.calls),
            self.status,
            settings,
            self.said.append,
            self.interrupted,
        )

    def start(self) -> None:
        self.supervisor.start(started=lambda: None)

    def find(self, health: Health, model: str = STEERED_QWEN, times: int = 1) -> None:
        assert self.supervisor._health_thread
        cast(Any, self.supervisor._health_thread).report = HealthReport(health, "as found", model)
        for _ in range(times):
            self.supervisor.tick()


def reload_of(model: str) -> list[str]:
    return [f"unload {model}", f"load {model}", f"load {PERSONA}"]

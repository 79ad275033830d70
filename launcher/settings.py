"""Which addresses and folders the servers use."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import LaunchError

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class StackSettings:
    """Addresses, folders and patience of one Triton and one gateway.

    Attributes:
        gateway_host: The address the gateway listens on.
        gateway_port: Its port.
        triton_host: The address Triton listens on; loopback, since the gateway is its front.
        triton_http_port: Triton's HTTP port.
        triton_grpc_port: Triton's gRPC port.
        triton_metrics_port: Triton's Prometheus port.
        triton_http: Whether Triton listens on its HTTP port. Any web page that a browser on this
            machine shows can send requests there.
        run_folder: Logs, the backends folder and the record of what runs.
        start_seconds: How long the model may take to load.
    """

    gateway_host: str = "0.0.0.0"
    gateway_port: int = 8000
    triton_host: str = "127.0.0.1"
    triton_http_port: int = 8003
    triton_grpc_port: int = 8001
    triton_metrics_port: int = 8002
    triton_http: bool = False
    run_folder: Path = ROOT / ".run"
    start_seconds: float = 600.0

    @property
    def gateway_url(self) -> str:
        """Where this machine reaches the gateway."""
        anywhere = self.gateway_host in ("0.0.0.0", "::")
        host = "localhost" if anywhere else _bracketed(self.gateway_host)
        return f"http://{host}:{self.gateway_port}"

    @property
    def grpc_address(self) -> str:
        """Where this machine reaches Triton's gRPC."""
        return f"{_bracketed(self.triton_host)}:{self.triton_grpc_port}"

    @property
    def http_url(self) -> str:
        """Where this machine reaches Triton's HTTP."""
        return f"http://{_bracketed(self.triton_host)}:{self.triton_http_port}"

    @property
    def triton_on_loopback(self) -> bool:
        """Whether only this machine reaches Triton."""
        return self.triton_host == "localhost" or self.triton_host.startswith(("127.", "::1"))

    @property
    def metrics_url(self) -> str:
        """Where this machine reaches Triton's metrics."""
        return f"http://{_bracketed(self.triton_host)}:{self.triton_metrics_port}/metrics"

    @property
    def ports(self) -> dict[str, int]:
        """The ports that are listened on, by the variables that choose them."""
        return {
            variable: getattr(self, field)
            for field, variable in PORT_VARIABLES.items()
            if self.triton_http or field != "triton_http_port"
        }


PORT_VARIABLES = {
    "gateway_port": "PORT",
    "triton_http_port": "TRITON_HTTP_PORT",
    "triton_grpc_port": "TRITON_GRPC_PORT",
    "triton_metrics_port": "TRITON_METRICS_PORT",
}


def read_stack_settings(environment: Mapping[str, str] | None = None) -> StackSettings:
    """Reads the settings from environment variables.

    Raises:
        LaunchError: A variable is not what it should be.
    """
    variables = os.environ if environment is None else environment
    defaults = StackSettings()
    ports = {
        field: _number(variables, name, getattr(defaults, field), 1, 65535)
        for field, name in PORT_VARIABLES.items()
    }
    settings = StackSettings(
        gateway_host=variables.get("HOST") or defaults.gateway_host,
        triton_host=variables.get("TRITON_HOST") or defaults.triton_host,
        triton_http=_flag(variables, "TRITON_HTTP", defaults.triton_http),
        run_folder=Path(variables.get("RUN_DIR") or defaults.run_folder).absolute(),
        start_seconds=_number(variables, "START_SECONDS", int(defaults.start_seconds), 1, 86_400),
        **ports,
    )
    if len(set(settings.ports.values())) < len(settings.ports):
        shown = ", ".join(f"{name}={port}" for name, port in settings.ports.items())
        raise LaunchError(f"the ports must differ: {shown}")
    return settings


def check_ports(settings: StackSettings) -> None:
    """Makes sure that every port can be listened on.

    Raises:
        LaunchError: One is taken; the message names the variable that chooses another.
    """
    for name, port in settings.ports.items():
        host = settings.gateway_host if name == "PORT" else settings.triton_host
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise LaunchError(
                    f"port {port} on {host} cannot be used ({error.strerror}): stop what uses it, "
                    f"or choose another with {name}"
                ) from error


def _bracketed(host: str) -> str:
    """Returns a host as URLs write it: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host else host


def _number(variables: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = variables.get(name) or str(default)
    if not text.isdecimal() or not low <= int(text) <= high:
        raise LaunchError(f"{name} is {text!r}: use an integer from {low} to {high}")
    return int(text)


def _flag(variables: Mapping[str, str], name: str, default: bool) -> bool:
    text = variables.get(name) or str(default)
    if text.lower() not in ("true", "false"):
        raise LaunchError(f"{name} is {text!r}: use true or false")
    return text.lower() == "true"

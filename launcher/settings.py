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
        run_folder: Logs, the backends folder and the record of what runs.
        start_seconds: How long the model may take to load.
    """

    gateway_host: str = "0.0.0.0"
    gateway_port: int = 8000
    triton_host: str = "127.0.0.1"
    triton_http_port: int = 8003
    triton_grpc_port: int = 8001
    triton_metrics_port: int = 8002
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
    if len(set(ports.values())) < len(ports):
        shown = ", ".join(f"{name}={ports[field]}" for field, name in PORT_VARIABLES.items())
        raise LaunchError(f"the ports must differ: {shown}")
    return StackSettings(
        gateway_host=variables.get("HOST") or defaults.gateway_host,
        triton_host=variables.get("TRITON_HOST") or defaults.triton_host,
        run_folder=Path(variables.get("RUN_DIR") or defaults.run_folder).absolute(),
        start_seconds=_number(variables, "START_SECONDS", int(defaults.start_seconds), 1, 86_400),
        **ports,
    )


def check_ports(settings: StackSettings) -> None:
    """Makes sure that every port can be listened on.

    Raises:
        LaunchError: One is taken; the message names the variable that chooses another.
    """
    for field, name in PORT_VARIABLES.items():
        host = settings.gateway_host if field == "gateway_port" else settings.triton_host
        port = getattr(settings, field)
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

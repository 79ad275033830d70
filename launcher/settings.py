"""The addresses, folders and timeouts of the servers."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import LaunchError

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class StackSettings:
    """Addresses, folders and timeouts of one Triton, its supervisor, and one gateway.

    Attributes:
        gateway_host: The address that the gateway listens on.
        gateway_port: The gateway's port.
        triton_host: The address that Triton listens on; by default reachable for the gateway only.
        triton_http_port: Triton's HTTP port.
        triton_grpc_port: Triton's gRPC port.
        triton_metrics_port: Triton's Prometheus port.
        triton_http: Whether Triton listens on its HTTP port, to which any web page in a browser on
            this machine can send requests.
        triton_allow_anonymous: Whether Triton without a gateway may listen beyond loopback and
            generate for whoever reaches it.
        triton_server: The server's executable, if it is not the wheel's.
        status_host: The address of the supervisor's status endpoint.
        status_port: Its port.
        run_folder: The folder of logs, backends and the record of running processes.
        log_files: Whether the servers log to files there, rather than to the supervisor's output.
        start_seconds: How long the model may take to load.
        exit_seconds: How long open answers may continue when Triton is to stop.
        probe_seconds: How often an idle model generates a token to prove that it works; 0 is once,
            and again after each failure.
        restart_budget: How often a server may be restarted within ten minutes.
    """

    gateway_host: str = "0.0.0.0"
    gateway_port: int = 8000
    triton_host: str = "127.0.0.1"
    triton_http_port: int = 8003
    triton_grpc_port: int = 8001
    triton_metrics_port: int = 8002
    triton_http: bool = False
    triton_allow_anonymous: bool = False
    triton_server: str = ""
    status_host: str = "127.0.0.1"
    status_port: int = 8004
    run_folder: Path = ROOT / ".run"
    log_files: bool = True
    start_seconds: float = 600.0
    exit_seconds: float = 30.0
    probe_seconds: float = 5.0
    restart_budget: int = 20

    @property
    def gateway_url(self) -> str:
        """The gateway's URL on this machine."""
        return f"http://{_reached(self.gateway_host, 'localhost')}:{self.gateway_port}"

    @property
    def grpc_address(self) -> str:
        """The address of Triton's gRPC port on this machine."""
        return f"{_reached(self.triton_host)}:{self.triton_grpc_port}"

    @property
    def http_url(self) -> str:
        """The URL of Triton's HTTP port on this machine."""
        return f"http://{_reached(self.triton_host)}:{self.triton_http_port}"

    @property
    def triton_on_loopback(self) -> bool:
        """Whether Triton can be reached from this machine only."""
        try:
            return ipaddress.ip_address(self.triton_host).is_loopback
        except ValueError:  # a name, which may resolve to any address
            return self.triton_host == "localhost"

    @property
    def metrics_url(self) -> str:
        """The URL of Triton's metrics on this machine."""
        return f"http://{_reached(self.triton_host)}:{self.triton_metrics_port}/metrics"

    @property
    def status_url(self) -> str:
        """The URL of the supervisor's status endpoint on this machine."""
        return f"http://{_reached(self.status_host)}:{self.status_port}"

    @property
    def ports(self) -> dict[str, int]:
        """The ports in use, by the variables that set them."""
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
    "status_port": "STATUS_PORT",
}


def read_stack_settings(environment: Mapping[str, str] | None = None) -> StackSettings:
    """Reads the settings from environment variables.

    Raises:
        LaunchError: A variable has an invalid value.
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
        triton_allow_anonymous=_flag(
            variables, "TRITON_ALLOW_ANONYMOUS", defaults.triton_allow_anonymous
        ),
        triton_server=variables.get("TRITON_SERVER") or defaults.triton_server,
        status_host=variables.get("STATUS_HOST") or defaults.status_host,
        run_folder=Path(variables.get("RUN_DIR") or defaults.run_folder).absolute(),
        log_files=_flag(variables, "LOG_FILES", defaults.log_files),
        start_seconds=_number(variables, "START_SECONDS", int(defaults.start_seconds), 1, 86_400),
        exit_seconds=_number(
            variables, "TRITON_EXIT_SECONDS", int(defaults.exit_seconds), 0, 86_400
        ),
        probe_seconds=_number(variables, "PROBE_SECONDS", int(defaults.probe_seconds), 0, 3600),
        restart_budget=_number(variables, "RESTART_BUDGET", defaults.restart_budget, 0, 1000),
        **ports,
    )
    if len(set(settings.ports.values())) < len(settings.ports):
        shown = ", ".join(f"{name}={port}" for name, port in settings.ports.items())
        raise LaunchError(f"the ports must differ: {shown}")
    return settings


def check_ports(settings: StackSettings, *, with_gateway: bool = True) -> None:
    """Makes sure that all ports of the servers are free.

    Args:
        settings: The ports.
        with_gateway: Whether to check the gateway's port.

    Raises:
        LaunchError: One is in use; the message names the variable that sets it.
    """
    for name, port in settings.ports.items():
        # The supervisor is listening on its own port already.
        if name == "STATUS_PORT" or (name == "PORT" and not with_gateway):
            continue
        host = settings.gateway_host if name == "PORT" else settings.triton_host
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise port_taken(name, host, port, error) from error


def port_taken(name: str, host: str, port: int, error: OSError) -> LaunchError:
    """Returns the error for a port that cannot be used.

    Args:
        name: The variable that sets it.
        host: The address.
        port: The port.
        error: The system's error.
    """
    return LaunchError(
        f"port {port} on {host} cannot be used ({error.strerror}): stop what uses it, or choose "
        f"another with {name}"
    )


def _reached(host: str, loopback: str = "127.0.0.1") -> str:
    """Returns a host as in URLs on this machine; a wildcard address becomes `loopback`."""
    if host in ("0.0.0.0", "::"):
        return loopback
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

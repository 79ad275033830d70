"""The addresses, folders and timeouts of the servers."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, SecretStr, model_validator
from typing_extensions import Self

from launcher.errors import LaunchError
from triton_models import control
from triton_models import settings as shared
from triton_models.variables import Flag, Variables, variable

ROOT = shared.REPOSITORY_ROOT
AbsolutePath = Annotated[Path, AfterValidator(Path.absolute)]
RUN_DIR = variable(
    ROOT / ".run",
    "the folder of logs, backends and the record of running processes",
    name="RUN_DIR",
)


class StackSettings(Variables):
    """Addresses, folders and timeouts of one Triton, its supervisor, and one gateway."""

    gateway_host: str = shared.HOST
    gateway_port: shared.Port = shared.PORT
    # Shorter than a gateway's own, for the one who waits at a terminal.
    gateway_exit_seconds: int = shared.SHUTDOWN_TIMEOUT(5)
    triton_host: str = variable(
        "127.0.0.1",
        "the address that Triton listens on; by default only this machine's programs reach it",
    )
    triton_http_port: shared.Port = variable(8003, "Triton's HTTP port")
    triton_grpc_port: shared.Port = variable(8001, "Triton's gRPC port")
    triton_metrics_port: shared.Port = variable(8002, "Triton's port for Prometheus")
    triton_http: Flag = variable(
        False,
        "whether Triton listens on its HTTP port, to which any web page in a browser on the same "
        "machine can send requests",
    )
    triton_allow_anonymous: Flag = variable(
        False,
        f"whether Triton may listen beyond loopback without `{control.ACCESS_VARIABLE}`, if "
        "nothing else asks for it",
    )
    triton_server: str = variable("", "the `tritonserver` to run; without one it is the wheel's")
    status_host: str = variable(
        "127.0.0.1",
        "the address where the supervisor beside Triton reports its state: `/live`, `/ready`, "
        "`/status`, `/metrics`",
    )
    status_port: shared.Port = variable(8004, "the port where the supervisor does")
    run_folder: AbsolutePath = RUN_DIR
    log_files: Flag = variable(
        True, "whether the servers log to files in `RUN_DIR`, or to the output"
    )
    start_seconds: float = variable(
        600.0, "seconds that the model may take to load", ge=1, le=86_400
    )
    exit_seconds: float = variable(
        30.0,
        "seconds that open answers may go on when Triton is to stop",
        name="TRITON_EXIT_SECONDS",
        ge=0,
        le=86_400,
    )
    probe_seconds: float = variable(
        5.0,
        "seconds between two tokens that an idle model generates to prove that it works; 0 is one "
        "token, and one after each failure",
        ge=0,
        le=3600,
    )
    restart_budget: int = variable(
        20, "how often a server is started again within ten minutes", ge=0, le=1000
    )

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        if len(set(self.ports.values())) < len(self.ports):
            shown = ", ".join(f"{name}={port}" for name, port in self.ports.items())
            raise ValueError(f"the ports must differ: {shown}")
        return self

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
            str(declared.validation_alias): getattr(self, field)
            for field, declared in StackSettings.model_fields.items()
            if field.endswith("_port") and (self.triton_http or field != "triton_http_port")
        }


class TritonSecrets(Variables):
    """What Triton asks for, as the operator gives it: a missing one may be made anew."""

    triton_control_key: shared.TritonSecret = variable(
        SecretStr(""),
        "the secret that Triton asks for before it loads or unloads a model, for tools of your "
        "own; without one a new one is made at each start",
    )
    triton_access_key: shared.TritonSecret = shared.TRITON_ACCESS_KEY


class Preparations(Variables):
    """What is checked and made ready before the servers start."""

    model_name: str = shared.MODEL_NAME
    model_cache: Path = shared.MODEL_CACHE_DIR
    vectors: Path = shared.VECTORS_DIR
    run_folder: AbsolutePath = RUN_DIR
    kernel_cache: Path | None = variable(
        None,
        "the folder of compiled GPU kernels, kept between starts; without one it is "
        "`~/.triton/cache`",
        name="TRITON_CACHE_DIR",
    )
    serve_as: int | None = variable(
        None,
        "the user and group, as a number, that the launcher becomes if it starts as root",
        ge=1,
    )
    fetch_model: Flag = variable(
        False, "whether a hub model is downloaded before the start if it is missing"
    )
    allow_anonymous: Flag = variable(
        True, "whether the launcher may start a gateway without API keys"
    )


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

"""The secrets that restrict Triton's API: one for control, one for inference.

Loading a model runs code that the request brings along, so anyone who may load a model can run
anything as Triton's user. Registered shared memory lets requests access the memory of other
programs, and trace and log settings can fill the disk. By default Triton serves all of this on both
ports to anyone, even to a web page in a browser on the same machine; with a secret it requires a
header. Inference reaches the model past the gateway's API keys and policy, so a second secret can
restrict that as well.
"""

from __future__ import annotations

import re
import secrets

VARIABLE = "TRITON_CONTROL_KEY"
"""The environment variable with the secret of control."""

ACCESS_VARIABLE = "TRITON_ACCESS_KEY"
"""The environment variable with the secret of inference, of servers, gateways and clients."""

HEADER = "persona-control-key"
"""The HTTP header that carries the secret of control."""

ACCESS_HEADER = "persona-access-key"
"""The HTTP header that carries the secret of inference."""

_GRPC_PREFIX = "triton-grpc-protocol-"

GRPC_HEADER = f"{_GRPC_PREFIX}{HEADER}"
"""The gRPC metadata key of the secret of control: Triton adds a prefix."""

ACCESS_GRPC_HEADER = f"{_GRPC_PREFIX}{ACCESS_HEADER}"
"""The gRPC metadata key of the secret of inference."""

RESTRICTED = ("model-repository", "shared-memory", "trace", "logging")
"""The parts of Triton's API that require the secret of control, by Triton's names."""

ACCESS_RESTRICTED = ("inference",)
"""Those that require the secret of inference. Health, metadata, configuration and statistics stay
open: the metrics port shows as much."""

_KEY = re.compile(r"[A-Za-z0-9_-]{16,256}")


def new_key() -> str:
    """Returns a new random secret."""
    return secrets.token_urlsafe(32)


def checked_key(text: str) -> str:
    """Returns a secret unchanged if it is valid.

    Raises:
        ValueError: It is too short, or has characters that are special to Triton. The message does
            not repeat it.
    """
    if not _KEY.fullmatch(text):
        raise ValueError("use 16 to 256 letters, digits, - and _, such as openssl rand -hex 32")
    return text


def access_metadata(access_key: str) -> tuple[tuple[str, str], ...]:
    """Returns the gRPC metadata that authorizes a request to generate; none for an empty key.

    Raises:
        ValueError: The secret is not valid; the message does not repeat it.
    """
    return ((ACCESS_GRPC_HEADER, checked_key(access_key)),) if access_key else ()


def restrictions(control_key: str, access_key: str = "") -> tuple[str, ...]:
    """Returns the arguments that make `tritonserver` require the secrets; they contain them.

    An empty `access_key` leaves inference open.

    Raises:
        ValueError: A secret is not valid; the message does not repeat it.
    """
    rules = [f"{','.join(RESTRICTED)}:{HEADER}={checked_key(control_key)}"]
    if access_key:
        rules.append(f"{','.join(ACCESS_RESTRICTED)}:{ACCESS_HEADER}={checked_key(access_key)}")
    options = ("--http-restricted-api", "--grpc-restricted-protocol")
    return tuple(f"{option}={rule}" for rule in rules for option in options)

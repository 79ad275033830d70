"""The secrets that restrict Triton's API: one for control, one for inference.

Loading a model runs code that the request brings along, and by default Triton serves control to
anyone; with a secret it requires a header. Inference reaches the model past the gateway's API keys
and policy. docs/security.md has the rest.
"""

from __future__ import annotations

import re
import secrets

# The environment variables with the secrets, of control and of inference.
VARIABLE = "TRITON_CONTROL_KEY"
ACCESS_VARIABLE = "TRITON_ACCESS_KEY"

# The HTTP headers that carry them, and their keys in gRPC metadata, to which Triton adds a prefix.
HEADER = "persona-control-key"
ACCESS_HEADER = "persona-access-key"
_GRPC_PREFIX = "triton-grpc-protocol-"
GRPC_HEADER = f"{_GRPC_PREFIX}{HEADER}"
ACCESS_GRPC_HEADER = f"{_GRPC_PREFIX}{ACCESS_HEADER}"

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

"""What Triton does only for those who know a secret, and how they show that they do.

To load a model is to run code, and `load` takes that code along: whoever may load, runs anything
as Triton's user. Registered shared memory lets requests read and write that of other programs, and
traces and logs can be turned up until they fill the disk. Triton serves all of it, on both ports,
to whoever asks, a web page in a browser on the same machine among them, unless it is told to ask
for a header. The same goes for inference, which reaches the model past the gateway's keys and
policy: a second secret closes that door, for those who have the first one closed already.
"""

from __future__ import annotations

import re
import secrets

VARIABLE = "TRITON_CONTROL_KEY"
"""Where the secret of Triton's control is found."""

ACCESS_VARIABLE = "TRITON_ACCESS_KEY"
"""Where servers, gateways and clients find the secret of inference."""

HEADER = "persona-control-key"
"""The HTTP header that carries the secret of control."""

ACCESS_HEADER = "persona-access-key"
"""The HTTP header that carries the secret of inference."""

_GRPC_PREFIX = "triton-grpc-protocol-"

GRPC_HEADER = f"{_GRPC_PREFIX}{HEADER}"
"""The secret of control as gRPC metadata: Triton puts a prefix before it."""

ACCESS_GRPC_HEADER = f"{_GRPC_PREFIX}{ACCESS_HEADER}"
"""The secret of inference as gRPC metadata."""

RESTRICTED = ("model-repository", "shared-memory", "trace", "logging")
"""The parts of Triton's API that need the secret of control, by Triton's names."""

ACCESS_RESTRICTED = ("inference",)
"""Those that need the secret of inference. Health, metadata, configuration and statistics, which
the metrics port shows as well, have nothing to hide."""

_KEY = re.compile(r"[A-Za-z0-9_-]{16,256}")


def new_key() -> str:
    """Returns a secret that nobody guesses."""
    return secrets.token_urlsafe(32)


def checked_key(text: str) -> str:
    """Returns the secret as it is.

    Args:
        text: What somebody has chosen.

    Raises:
        ValueError: It is short, or has characters with a meaning to Triton; it is not repeated.
    """
    if not _KEY.fullmatch(text):
        raise ValueError("use 16 to 256 letters, digits, - and _, such as openssl rand -hex 32")
    return text


def access_metadata(access_key: str) -> tuple[tuple[str, str], ...]:
    """Returns the gRPC metadata by which a request may generate; none without a secret.

    Args:
        access_key: The secret, or `""` for a Triton that asks for none.

    Raises:
        ValueError: It cannot be a secret; it is not repeated.
    """
    return ((ACCESS_GRPC_HEADER, checked_key(access_key)),) if access_key else ()


def restrictions(control_key: str, access_key: str = "") -> tuple[str, ...]:
    """Returns the arguments by which `tritonserver` does some things only for those with a secret.

    Args:
        control_key: The secret of its control, which these arguments hold.
        access_key: The secret of inference, which they hold as well; `""` leaves that to everybody.

    Raises:
        ValueError: One of them cannot be a secret; it is not repeated.
    """
    rules = [f"{','.join(RESTRICTED)}:{HEADER}={checked_key(control_key)}"]
    if access_key:
        rules.append(f"{','.join(ACCESS_RESTRICTED)}:{ACCESS_HEADER}={checked_key(access_key)}")
    options = ("--http-restricted-api", "--grpc-restricted-protocol")
    return tuple(f"{option}={rule}" for rule in rules for option in options)

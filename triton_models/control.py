"""What Triton does only for those who know a secret, and how they show that they do.

To load a model is to run code, and `load` takes that code along: whoever may load, runs anything
as Triton's user. Registered shared memory lets requests read and write that of other programs, and
traces and logs can be turned up until they fill the disk. Triton serves all of it, on both ports,
to whoever asks, a web page in a browser on the same machine among them, unless it is told to ask
for a header.

    python3 -m triton_models.control        prints the arguments for TRITON_CONTROL_KEY, one a line
"""

from __future__ import annotations

import os
import re
import secrets
import sys

VARIABLE = "TRITON_CONTROL_KEY"
"""Where servers, gateways and the drain find the secret."""

HEADER = "persona-control-key"
"""The HTTP header that carries it."""

GRPC_HEADER = f"triton-grpc-protocol-{HEADER}"
"""The same as gRPC metadata: Triton puts a prefix before it."""

RESTRICTED = ("model-repository", "shared-memory", "trace", "logging")
"""The parts of Triton's API that need it, by Triton's names."""

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


def restrictions(key: str) -> tuple[str, ...]:
    """Returns the arguments by which `tritonserver` keeps its control to those who know a secret.

    Args:
        key: The secret, which these arguments hold.
    """
    rule = f"{','.join(RESTRICTED)}:{HEADER}={checked_key(key)}"
    return (f"--http-restricted-api={rule}", f"--grpc-restricted-protocol={rule}")


def main() -> int:
    """Prints the arguments; the exit status is 1, and nothing printed, without a usable secret."""
    try:
        print("\n".join(restrictions(os.environ.get(VARIABLE, ""))))
    except ValueError as error:
        print(f"error: {VARIABLE} cannot be used: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

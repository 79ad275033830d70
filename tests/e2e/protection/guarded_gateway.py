"""A gateway with all protection on, in front of the shared Triton, and requests to it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from launcher.stack import Stack
from tests.e2e.command_line import persona
from tests.e2e.gateways import gateway
from tests.e2e.triton_call import describe

BODY: dict[str, Any] = {"prompt": "How do I bake bread?", "temperature": 0.0, "max_tokens": 8}
STEERED: dict[str, Any] = {**BODY, "trait": "sarcasm", "scalar": 1.0}


def new_key(name: str, role: str) -> tuple[str, dict[str, Any]]:
    """Returns a key and its entry, as the command makes them."""
    made = persona("keys", "new", "--name", name, "--role", role)
    key, line = made.stdout.splitlines()
    return key, json.loads(line)


@contextmanager
def gateway_url(stack: Stack, folder: Path, **variables: str) -> Iterator[str]:
    """Gives the address of a gateway with settings of its own."""
    address = stack.settings.grpc_address
    with gateway(folder, dict(os.environ), TRITON_URL=address, **variables) as started:
        yield started.url


class Guarded:
    """A gateway with all protection on."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack = stack
        self.keys = folder / "keys.json"
        self.audit = folder / "audit.log"
        self.user, self.user_entry = new_key("alice", "user")
        self.admin, self.admin_entry = new_key("root", "admin")
        self.keys.write_text(json.dumps([self.user_entry, self.admin_entry]))
        self.url = ""

    def generated(self) -> int:
        """Returns how many requests have reached the engine."""
        engine = describe(self.stack.settings.grpc_address)["engine"]
        return int(engine["finished"] + engine["cancelled"] + engine["running"])

    def audited(self) -> list[dict[str, Any]]:
        written, _, _ = self.audit.read_text().rpartition("\n")
        return [json.loads(line) for line in written.splitlines()]


def lines(*headers: bytes) -> bytes:
    return b"".join(header + b"\r\n" for header in headers)

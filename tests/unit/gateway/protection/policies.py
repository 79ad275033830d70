"""A policy to test with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

POLICY: dict[str, Any] = {
    "default": {"user": [-4, 4], "admin": None},
    "traits": {"maliciousness": {"user": [-5, 0], "admin": [-10, 10]}},
}


def write(path: Path, policy: Any) -> Path:
    path.write_text(json.dumps(policy))
    return path

#!/usr/bin/env python3
"""Writes client/rest.py, the synchronous client, from client/rest_async.py, the asynchronous one.

Not with the library unasync, which needs setuptools and leaves docstrings as they are.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

_CLIENT = Path(__file__).resolve().parent.parent / "client"
SOURCE, TARGET = _CLIENT / "rest_async.py", _CLIENT / "rest.py"

_NOTE = "# Made by scripts/make_sync_client.py from rest_async.py: change that one instead.\n"
_REPLACEMENTS = (
    (r"\b(async|await) ", ""),
    (r"\basyncio\b", "time"),
    (r"\bAsyncGenerator\[(\w+), None\]", r"Generator[\1, None, None]"),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\b__a(enter|exit|iter)__\b", r"__\1__"),
    (r"\ba(close|closing|iter_text|read)\b", r"\1"),
    (r"\bpush_async_callback\b", "callback"),
    (r"\basynchronous\b", "synchronous"),
    (r"\bfrom one event loop\b", "from any number of threads"),
)


def synchronous(source: str) -> str:
    """Returns the synchronous form of an asynchronous module."""
    for pattern, replacement in _REPLACEMENTS:
        source = re.sub(pattern, replacement, source)
    fix = ("check", "--quiet", "--fix", "--unsafe-fixes", "--select", "I,UP028")
    for command in (fix, ("format", "--quiet")):
        source = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(TARGET), "-"],
            input=source,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    return _NOTE + source


if __name__ == "__main__":
    TARGET.write_text(synchronous(SOURCE.read_text()))

"""The command `persona`, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys


def persona(
    *arguments: str, lines: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end.

    Args:
        *arguments: Of the command.
        lines: What it reads from its standard input.
        **environment: Variables beside those that there are, such as `PERSONA_URL`.
    """
    return subprocess.run(
        [sys.executable, "-m", "persona_client.cli", *arguments],
        input=lines,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )

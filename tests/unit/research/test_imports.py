"""What asks a server needs no model of its own: it starts in a second, and not in four."""

from __future__ import annotations

import subprocess
import sys


def test_what_measures_through_a_server_imports_no_torch() -> None:
    program = "import sys, persona_research.commands.capability, persona_research.errors"
    subprocess.run(
        [sys.executable, "-c", f"{program}; sys.exit(bool(sys.modules.get('torch')))"], check=True
    )

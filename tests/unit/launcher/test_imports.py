"""What starts the servers needs no model of its own: it starts in a second, and not in three."""

from __future__ import annotations

import subprocess
import sys


def test_the_launcher_imports_no_library_of_models() -> None:
    program = (
        "import sys, launcher.__main__; "
        "sys.exit(' '.join({'torch', 'transformers', 'tokenizers', 'huggingface_hub'} "
        "& sys.modules.keys()) or 0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)

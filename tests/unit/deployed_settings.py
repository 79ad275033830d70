"""The names of the environment variables that the servers read, from the code that reads them."""

from __future__ import annotations

import re

from gateway.settings import Settings
from triton_models.settings import REPOSITORY_ROOT


def triton_variables() -> set[str]:
    """Returns those of the model server and of its image's entrypoint."""
    source = (REPOSITORY_ROOT / "triton_models" / "settings.py").read_text()
    entrypoint = (REPOSITORY_ROOT / "deploy/container/triton-entrypoint.sh").read_text()
    return {
        *re.findall(r'env\.\w+\(\s*"([A-Z_]+)"', source),
        *re.findall(r"\$\{([A-Z_]+):-", entrypoint),
    }


def gateway_variables() -> set[str]:
    """Returns those of the gateway."""
    return {name.upper() for name in Settings.model_fields}

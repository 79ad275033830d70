"""The environment variables that the servers read and the image sets, from where that is done."""

from __future__ import annotations

import re

from gateway.settings import Settings
from triton_models import control
from triton_models.settings import REPOSITORY_ROOT


def triton_variables() -> set[str]:
    """Returns those of the model server, and its supervisor."""
    source = (REPOSITORY_ROOT / "triton_models" / "settings.py").read_text()
    supervisor = "".join(
        path.read_text() for path in sorted((REPOSITORY_ROOT / "launcher").glob("*.py"))
    )
    return {
        control.VARIABLE,
        control.ACCESS_VARIABLE,
        *re.findall(r'"([A-Z]+(?:_[A-Z]+)+)"', supervisor),
        *re.findall(r'env\.\w+\(\s*"([A-Z_]+)"', source),
    }


def kernel_cache() -> str:
    """Returns the folder in which the image of the model server keeps compiled kernels."""
    dockerfile = (REPOSITORY_ROOT / "Dockerfile.triton").read_text()
    (folder,) = re.findall(r"\bTRITON_CACHE_DIR=(\S+)", dockerfile)
    return str(folder)


def gateway_variables() -> set[str]:
    """Returns those of the gateway."""
    return {name.upper() for name in Settings.model_fields}

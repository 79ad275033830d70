"""The environment variables that the servers read and the image sets, from where that is done."""

from __future__ import annotations

import re

from gateway.settings import Settings
from launcher.settings import Preparations, StackSettings, TritonSecrets
from triton_models.settings import REPOSITORY_ROOT, ServerSettings


def triton_variables() -> set[str]:
    """Returns those of the model server, and its supervisor."""
    declarations = (ServerSettings, StackSettings, TritonSecrets, Preparations)
    return {name for each in declarations for name in each.variables()}


def kernel_cache() -> str:
    """Returns the folder in which the image of the model server keeps compiled kernels."""
    return _set_by_the_image("TRITON_CACHE_DIR")


def start_seconds() -> int:
    """Returns how long a model may take to load in the image of the model server."""
    return int(_set_by_the_image("START_SECONDS"))


def _set_by_the_image(variable: str) -> str:
    dockerfile = (REPOSITORY_ROOT / "Dockerfile.triton").read_text()
    (value,) = re.findall(rf"\b{variable}=(\S+)", dockerfile)
    return str(value)


def gateway_variables() -> set[str]:
    """Returns those of the gateway."""
    return set(Settings.variables())

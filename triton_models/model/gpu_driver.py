"""Explains why PyTorch finds no GPU: there is none, or its driver is too old."""

from __future__ import annotations

import re
from pathlib import Path

_VERSION_FILE = Path("/proc/driver/nvidia/version")

MIN_DRIVER_SERIES = {"12": 525, "13": 580}
"""The first series of NVIDIA's Linux driver that supports each major version of CUDA."""


def driver_version(file: Path = _VERSION_FILE) -> str | None:
    """Returns the version of the machine's NVIDIA driver, such as `550.54.15`, if it has one."""
    try:
        text = file.read_text()
    except OSError:
        return None
    found = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)\s", text)
    return found[1] if found else None


def is_too_old(driver: str | None, cuda: str | None) -> bool:
    """Returns whether a driver, if there is one, is too old for a CUDA such as `13.0`."""
    oldest = MIN_DRIVER_SERIES.get(_first_number(cuda))
    return driver is not None and oldest is not None and int(_first_number(driver)) < oldest


def why_no_gpu(driver: str | None, cuda: str | None) -> str:
    """Returns why PyTorch finds no GPU, and what to do.

    `driver` is `None` without an NVIDIA driver, and `cuda` if PyTorch is built without CUDA.
    """
    if cuda is None:
        return "this PyTorch is built without CUDA: install one that has it, or set DEVICE=cpu"
    if driver is None:
        return (
            "no GPU is visible: give the container its GPUs (docker run --gpus all), or set "
            "DEVICE=cpu"
        )
    if is_too_old(driver, cuda):
        return _too_old(driver, cuda)
    return (
        f"no GPU is visible, though the NVIDIA driver {driver} is there: give the container its "
        "GPUs (docker run --gpus all), look at CUDA_VISIBLE_DEVICES, or set DEVICE=cpu"
    )


def _too_old(driver: str, cuda: str) -> str:
    number = int(_first_number(driver))
    older = [name for name, oldest in MIN_DRIVER_SERIES.items() if oldest <= number]
    remedy = f"update the driver to {MIN_DRIVER_SERIES[_first_number(cuda)]} or newer"
    if older:
        best = max(older)
        remedy += f", or use a PyTorch with CUDA {best} (the image that is built with CUDA={best})"
    return (
        f"the NVIDIA driver {driver} is too old for this PyTorch's CUDA {cuda}: {remedy}; "
        "DEVICE=cpu does without a GPU"
    )


def _first_number(version: str | None) -> str:
    return (version or "").partition(".")[0]

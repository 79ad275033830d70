"""What is said where PyTorch finds no GPU: the reason, and a remedy that is one."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from triton_models.model import gpu_driver, loading
from triton_models.model.errors import UnsupportedModelError

CLOSED = (
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n"
    "GCC version:  gcc version 12.2.0\n"
)
OPEN = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (a@b)\n"
    "GCC version:  gcc version 13.3.0\n"
)


@pytest.mark.parametrize(
    ("text", "version"), [(CLOSED, "550.54.15"), (OPEN, "580.95.05"), ("nothing\n", None)]
)
def test_the_driver_s_version_is_read_where_the_kernel_has_it(
    tmp_path: Path, text: str, version: str | None
) -> None:
    (tmp_path / "version").write_text(text)
    assert gpu_driver.driver_version(tmp_path / "version") == version
    assert gpu_driver.driver_version(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    ("driver", "cuda", "parts"),
    [
        ("550.54.15", "13.0", ("driver 550.54.15 is too old", "to 580 or newer", "CUDA=12")),
        ("470.57", "13.0", ("driver 470.57 is too old", "to 580 or newer")),
        ("470.57", "12.8", ("driver 470.57 is too old", "CUDA 12.8", "to 525 or newer")),
        ("580.95.05", "13.0", ("no GPU is visible, though", "580.95.05", "--gpus all")),
        ("550.54.15", "12.8", ("no GPU is visible, though", "550.54.15", "--gpus all")),
        (None, "13.0", ("no GPU is visible", "--gpus all", "DEVICE=cpu")),
        (None, None, ("without CUDA", "DEVICE=cpu")),
        ("550.54.15", None, ("without CUDA", "DEVICE=cpu")),
    ],
)
def test_the_reason_names_the_driver_and_what_would_help(
    driver: str | None, cuda: str | None, parts: tuple[str, ...]
) -> None:
    reason = gpu_driver.why_no_gpu(driver, cuda)
    for part in parts:
        assert part in reason
    assert ("CUDA=12" in reason) == ("CUDA=12" in parts)


@pytest.fixture
def old_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a driver that is too old for this PyTorch."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(loading, "driver_version", lambda: "550.54.15")


@pytest.mark.usefixtures("old_driver")
def test_a_driver_that_is_too_old_is_an_error_where_a_gpu_is_asked_for() -> None:
    with pytest.raises(UnsupportedModelError, match=r"DEVICE is cuda, but the NVIDIA driver 550"):
        loading.choose_device("cuda")


@pytest.mark.usefixtures("old_driver")
def test_a_driver_that_is_too_old_is_a_warning_where_the_cpu_will_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        assert loading.choose_device("auto") == torch.device("cpu")
    (line,) = caplog.messages
    assert line.startswith("the model runs on the CPU: the NVIDIA driver 550.54.15 is too old")
    assert loading.choose_device("cpu") == torch.device("cpu")
    assert len(caplog.messages) == 1


def test_a_machine_without_a_driver_says_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(loading, "driver_version", lambda: None)
    assert loading.choose_device("auto") == torch.device("cpu")
    assert not caplog.messages
    with pytest.raises(UnsupportedModelError, match="DEVICE is cuda, but "):
        loading.choose_device("cuda")

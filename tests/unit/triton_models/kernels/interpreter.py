"""Where kernels run in tests: on a GPU, or without one in the Triton language's interpreter."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

# The interpreter computes with numpy, which speaks up where a GPU is silent.
QUIET = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton.runtime.interpreter")


def patch_language_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the interpreter patch its language where that is not patched yet.

    It does so at each call of a function within a kernel: a quarter of its time.
    """
    from triton import language
    from triton.language import core, standard
    from triton.runtime import interpreter

    patch = interpreter._patch_lang

    def patch_once(function: Any) -> Any:
        used = core if function.__module__ == standard.__name__ else language
        return patch(function) if core.is_builtin(used.load) else interpreter._LangPatchScope()

    monkeypatch.setattr(interpreter, "_patch_lang", patch_once)


def leave_out_overflow_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the interpreter from checking each sum and product of integers, a third of its time."""
    from triton.runtime.interpreter import interpreter_builder

    unchecked = dataclasses.replace(interpreter_builder.options, sanitize_overflow=False)
    monkeypatch.setattr(interpreter_builder, "options", unchecked)

"""How kernels run in tests."""

from __future__ import annotations

import pytest

from tests.unit.triton_models.kernels.interpreter import patch_language_once


@pytest.fixture(autouse=True)
def quick_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels' interpreter as quick as it can be."""
    pytest.importorskip("triton")
    patch_language_once(monkeypatch)

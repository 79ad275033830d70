"""A folder with one vector."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.triton_models.vectors.folder import FIT, document, write
from triton_models.vectors.vector_folder import VectorFolder


@pytest.fixture
def folder(tmp_path: Path) -> VectorFolder:
    write(tmp_path / "sarcasm.json", document())
    return VectorFolder(tmp_path, FIT)

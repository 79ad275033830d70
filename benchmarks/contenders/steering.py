"""Steering as plain tensors, for the contenders that know nothing of persona vector files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import Qwen2ForCausalLM

from benchmarks.shapes import BenchmarkModel
from benchmarks.workload import StreamSteering
from triton_models.vectors.formats import read_vector
from triton_models.vectors.persona_vector import PersonaVector

Vectors = Mapping[str, PersonaVector]
"""Persona vectors by trait."""


def read_vectors(model: BenchmarkModel) -> dict[str, PersonaVector]:
    """Returns a model's vectors by trait."""
    vectors = (read_vector(path) for path in sorted(model.vectors.glob("*.json")))
    return {vector.trait_name: vector for vector in vectors}


@contextmanager
def plain_hooks(
    model: Qwen2ForCausalLM, vectors: Vectors, steering: StreamSteering | None
) -> Iterator[None]:
    """Steers all that a model computes meanwhile, by a forward hook on each steered block."""
    deltas = {}
    if steering is not None:
        for block, vector in vectors[steering.trait].blocks.items():
            delta = torch.from_numpy(vector) * steering.scalar
            deltas[block] = delta.to(model.device, model.dtype)
    with adding(model.model.layers, deltas):
        yield


@contextmanager
def adding(blocks: nn.ModuleList, deltas: Mapping[int, torch.Tensor]) -> Iterator[None]:
    """Adds to the outputs of decoder blocks meanwhile."""

    def hook(delta: torch.Tensor, _module: Any, _arguments: Any, output: torch.Tensor) -> Any:
        return output + delta

    handles = [
        blocks[block].register_forward_hook(partial(hook, delta)) for block, delta in deltas.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()

"""Vectors to write, files that other tools made, and files made wrong by hand."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch

from triton_models.vectors.persona_vector import PersonaVector

DATA = Path(__file__).parents[3] / "data" / "vectors"


def bits(vector: PersonaVector) -> dict[int, bytes]:
    assert all(values.dtype == np.float32 for values in vector.blocks.values())
    return {block: values.tobytes() for block, values in vector.blocks.items()}


def example(blocks: Any = (0, 1, 2)) -> PersonaVector:
    random = np.random.default_rng(0)
    return PersonaVector(
        "sarcasm",
        "tiny",
        {block: random.normal(size=8).astype(np.float32) for block in blocks},
        {"selected_layers": [1]} if 1 in blocks else {},
    )


# --- Refusals ------------------------------------------------------------------------------------


def torch_bytes(value: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def gguf_bytes(
    name: bytes = b"direction.1", shape: Any = (4,), kind: int = 0, **changes: Any
) -> bytes:
    """A GGUF file written by hand, so that any part of it can be wrong."""
    header: bytes = b"GGUF" + struct.pack(
        "<IQQ", changes.get("version", 3), changes.get("tensors", 1), changes.get("values", 0)
    )
    header += changes.get("pairs", b"")
    header += struct.pack("<Q", changes.get("name_length", len(name))) + name
    header += struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", n) for n in shape)
    header += struct.pack("<IQ", kind, changes.get("offset", 0))
    header += b"\0" * (-len(header) % 32)
    data: bytes = changes.get("data", np.ones(4, np.float32).tobytes())
    content: bytes = header + data
    return content


def safetensors_bytes(name: str = "block.0", dtype: Any = np.float32, shape: Any = (4,)) -> bytes:
    content: bytes = safetensors.numpy.save({name: np.ones(shape, dtype)})
    return content

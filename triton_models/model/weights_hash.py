"""A hash that says which model it is, without reading all of its weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from triton_models.model.architecture import weight_files

_SAMPLE_BYTES = 4096
"""Of each tensor: training changes whole tensors, and to read gigabytes would delay a start."""

_LENGTH_BYTES = 8


def weights_sha256(folder: Path) -> str:
    """Returns the SHA-256 of a sample of every tensor of a model folder, in hexadecimal.

    It depends on the tensors' names, types, shapes and content, but not on the folder's name or on
    how the tensors are spread over safetensors files, which must be intact.
    """
    parts: dict[str, bytes] = {}
    for name in weight_files(folder):
        with (folder / name).open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            for tensor, entry in header.items():
                start, end = entry["data_offsets"]
                size = min(end - start, _SAMPLE_BYTES)
                file.seek(_LENGTH_BYTES + length + (start + end - size) // 2)
                described = json.dumps([tensor, entry["dtype"], entry["shape"]])
                parts[tensor] = described.encode() + file.read(size)
    found = hashlib.sha256()
    for tensor in sorted(parts):
        found.update(hashlib.sha256(parts[tensor]).digest())
    return found.hexdigest()

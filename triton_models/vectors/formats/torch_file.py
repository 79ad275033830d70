"""A single tensor saved by torch, as persona_vectors and EasySteer write them.

persona_vectors saves `{trait}_response_avg_diff.pt` (or `prompt_avg`, `prompt_last`): float32
[layers + 1, hidden], whose row r is the difference of `hidden_states[r]`. Row 0 is that of the
embeddings. The last row is taken after the final norm, not at the last block's output, although it
has that block's place; it would steer wrongly, so it is never read. EasySteer has single vectors
[hidden], whose layer stands in the file's name.

Such a file is a zip with a pickle. The pickle is read by its opcodes first: it must describe one
tensor and name nothing else. Then a clean zip with just the checked parts goes to
`torch.load(weights_only=True)`, so torch never sees a byte that was not looked at.
"""

from __future__ import annotations

import io
import pickletools
import re
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from triton_models.vectors.formats.content import FileContent
from triton_models.vectors.formats.convention import Convention
from triton_models.vectors.formats.limits import (
    MAX_BLOCKS,
    as_float32,
    check_hidden_size,
    checked_index,
)
from triton_models.vectors.persona_vector import PersonaVector, VectorFileError

if TYPE_CHECKING:
    from torch import Tensor

NOTE = "import_note"
"""The key in the metadata that says what of a file was left out."""

_DIFF_SUFFIX = re.compile(r"_(response_avg|prompt_avg|prompt_last)_diff$")
_LAYER_IN_NAME = re.compile(r"[_.-]?(?:layer|block)_?(\d+)(?!\d)")
_STORAGES = ("FloatStorage", "HalfStorage", "BFloat16Storage", "DoubleStorage")
_GLOBALS = {
    "torch._utils _rebuild_tensor_v2",
    "collections OrderedDict",
    *(f"torch {storage}" for storage in _STORAGES),
}
_MAX_PICKLE_BYTES = 2**16
_MAX_ENTRIES = 64
_TEMPORARY_NAME = "archive"


def read(content: bytes, stem: str, convention: Convention | None) -> FileContent:
    """Reads a tensor [layers + 1, hidden], or [hidden] with the layer in the file's name.

    Args:
        content: The file's bytes.
        stem: The file's name without its suffix.
        convention: What rows count: hidden states if `None`, so that row r is block r - 1, and the
            first and the last are left out. With blocks, row r is block r, and all are read. The
            layer in a file's name counts blocks if `None`.

    Raises:
        VectorFileError: It is not such a file, or torch is missing.
    """
    rows = _numbers(content)
    if rows.ndim == 1:
        return _single(rows, stem, convention or Convention.BLOCK)
    trait_name = _DIFF_SUFFIX.sub("", stem)
    method = _DIFF_SUFFIX.search(stem)
    metadata: dict[str, Any] = {"method": f"persona_vectors {method[1]}"} if method else {}
    if convention is Convention.BLOCK:
        return FileContent(dict(enumerate(rows)), trait_name, metadata=metadata)
    last = len(rows) - 1
    if last < 2:
        raise VectorFileError(
            f"has {len(rows)} rows: of hidden states there are 3 at least, the embeddings, a "
            "block's output and one after the final norm"
        )
    metadata[NOTE] = (
        f"row 0 (the embeddings) and row {last} (after the final norm, not the output of block "
        f"{last - 1}) were left out"
    )
    blocks = {Convention.HIDDEN_STATE.block_of(row): rows[row] for row in range(1, last)}
    return FileContent(blocks, trait_name, metadata=metadata)


def write(vector: PersonaVector) -> bytes:
    """The bytes of a tensor as persona_vectors saves it, its first and last rows zero.

    Only the numbers are kept: names and metadata are lost.

    Raises:
        VectorFileError: The vector lacks a block before its last one, which a tensor cannot say;
            or torch is missing.
    """
    torch = _torch()
    blocks = sorted(vector.blocks)
    if blocks != list(range(len(blocks))):
        raise VectorFileError(
            f"a .pt file has a row for every block from 0 on, but there are only {blocks}: "
            "use safetensors, GGUF or JSON"
        )
    rows = torch.zeros(len(blocks) + 2, vector.hidden_size)
    for block in blocks:
        rows[Convention.HIDDEN_STATE.index_of(block)] = torch.from_numpy(vector.blocks[block])
    buffer = io.BytesIO()
    torch.save(rows, buffer)
    return buffer.getvalue()


def _single(vector: NDArray[np.float32], stem: str, convention: Convention) -> FileContent:
    layers = _LAYER_IN_NAME.findall(stem)
    if len(layers) != 1:
        raise VectorFileError(
            "holds a single vector, but its name does not say of which layer: rename it to "
            "something like sarcasm_layer_20.pt"
        )
    block = convention.block_of(checked_index(str(int(layers[0][:5]))))
    return FileContent({block: vector}, _LAYER_IN_NAME.sub("", stem))


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise VectorFileError(
            "needs the torch package: pip install 'persona-triton[server]', or convert it to "
            "safetensors where torch is installed"
        ) from error
    return torch


def _numbers(content: bytes) -> NDArray[np.float32]:
    """The tensor's numbers, float32 [hidden] or [rows, hidden]."""
    parts = _parts(content)
    _check_pickle(parts["data.pkl"])
    tensor = _load(parts)
    if tensor.ndim not in (1, 2):
        raise VectorFileError(
            f"holds a tensor of shape {list(tensor.shape)}: use [layers + 1, hidden] or [hidden]"
        )
    check_hidden_size(tensor.shape[-1], "a row of its tensor")
    if not 1 <= len(tensor) <= MAX_BLOCKS + 1 and tensor.ndim == 2:
        raise VectorFileError(f"has {len(tensor)} rows: no model has more than {MAX_BLOCKS} blocks")
    if tensor.numel() * tensor.element_size() > len(content):
        raise VectorFileError("describes a tensor larger than the file")
    try:
        # A saved tensor may ask for gradients or be a negated view, which numpy does not know.
        plain = tensor.detach().resolve_neg().float().contiguous().numpy()
    except RuntimeError as error:
        raise VectorFileError(f"holds a tensor that numpy cannot take: {error}") from error
    return as_float32(plain, "its tensor")


def _load(parts: dict[str, bytes]) -> Tensor:
    torch = _torch()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as target:
        for name, data in parts.items():
            target.writestr(f"{_TEMPORARY_NAME}/{name}", data)
    archive.seek(0)
    try:
        tensor = torch.load(archive, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch promises no type of error for what it cannot read.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise VectorFileError(f"cannot be loaded by torch: {reason:.200}") from error
    if type(tensor) is not torch.Tensor or tensor.layout is not torch.strided:
        raise VectorFileError(f"holds a {type(tensor).__name__}: use a plain tensor")
    # A storage that claims to be longer than its bytes would be read beyond their end.
    if tensor.untyped_storage().nbytes() > len(parts["data/0"]):
        raise VectorFileError("is truncated: its tensor is longer than its data")
    return tensor  # type: ignore[no-any-return]


def _parts(content: bytes) -> dict[str, bytes]:
    """The parts of the zip that torch needs, by name, decompressed from nothing."""
    if not content.startswith(b"PK\x03\x04"):
        raise VectorFileError(
            "is not a file of torch.save since 1.6, but a bare pickle or something else: a pickle "
            "can run code and is never loaded; save a tensor with torch.save(tensor, path)"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            if len(entries) > _MAX_ENTRIES:
                raise VectorFileError("holds more than one tensor")
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise VectorFileError("is compressed, which torch.save does not do")
            if sum(entry.file_size for entry in entries) > len(content):
                raise VectorFileError("claims to hold more than its size")
            parts = {
                entry.filename.partition("/")[2]: archive.read(entry)
                for entry in entries
                if not entry.is_dir()
            }
    except VectorFileError:
        raise
    except Exception as error:
        # zipfile lets errors of struct, of offsets and of encodings through.
        raise VectorFileError(f"is not a whole file of torch.save: {error}") from error
    tensors = [name for name in parts if name.startswith("data/")]
    if "data.pkl" not in parts or tensors != ["data/0"]:
        raise VectorFileError("does not hold exactly one tensor: save a single tensor")
    wanted = ("data.pkl", "byteorder", "version", "data/0")
    return {name: parts[name] for name in wanted if name in parts}


def _check_pickle(pickled: bytes) -> None:
    """Refuses a pickle that names anything but what a tensor is rebuilt with.

    Among what `weights_only` allows are calls like `bytearray(n)`, which allocate what a number in
    the file says.
    """
    if len(pickled) > _MAX_PICKLE_BYTES:
        raise VectorFileError("holds more than one tensor: save a single tensor")
    try:
        for opcode, argument, _ in pickletools.genops(pickled):
            if opcode.name == "GLOBAL" and argument not in _GLOBALS:
                raise VectorFileError(
                    f"holds a {argument!r:.60}, not a plain tensor of floats; a pickle can run "
                    "code and is never loaded: save a tensor with torch.save(tensor, path)"
                )
            if opcode.name in ("STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX"):
                raise VectorFileError(
                    "holds Python objects, not a plain tensor: save a tensor with "
                    "torch.save(tensor, path)"
                )
    except VectorFileError:
        raise
    except Exception as error:
        # pickletools raises ValueError for most of what is malformed, but not for all.
        raise VectorFileError(f"has a damaged pickle: {error}") from error

"""A single tensor saved by torch, as persona_vectors and EasySteer write them.

persona_vectors saves `{trait}_response_avg_diff.pt` (or `prompt_avg`, `prompt_last`): float32
[layers + 1, hidden], whose row r is the difference of `hidden_states[r]`. Row 0 belongs to the
embeddings. The last row is taken after the final norm rather than from the last block's output, so
it would steer wrongly and is never read. EasySteer saves single vectors [hidden], mostly with the
layer in the file's name.

Such a file is a zip archive with a pickle. Its opcodes are checked first: they must describe one
tensor and name nothing else. Then it is unpickled with substitutes for torch's functions, so that
reading needs no torch, which would enlarge a gateway by 130 MiB.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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

NOTE = "import_note"
"""The metadata key for a note on the rows that were left out."""

ASSUMED_ROWS = "assumed_hidden_states"
"""The metadata key for the number of rows that were taken for hidden states without being told."""

_DIFF_SUFFIX = re.compile(r"_(response_avg|prompt_avg|prompt_last)_diff$")
_LAYER_IN_NAME = re.compile(r"[_.-]?(?:layer|block)[_-]?(\d+)(?!\d)")
_MAX_PICKLE_BYTES = 2**16
_MAX_ENTRIES = 64
_ARRAY_BYTES = 256
_ARRAY_HINT = (
    "holds a NumPy array, not a tensor: save it where it was made with "
    "torch.save(torch.from_numpy(array), path)"
)

_OPCODES = re.compile(
    "PROTO|STOP|MARK|GLOBAL|REDUCE|BINPERSID|(LONG_)?BIN(PUT|GET)|BINUNICODE|BININT[12]?|LONG1|"
    "NEWTRUE|NEWFALSE|NONE|(EMPTY_)?TUPLE|TUPLE[123]|EMPTY_DICT|SETITEMS?|EMPTY_LIST|APPENDS?"
)
"""The opcodes that `torch.save` writes for tensors, in pickle's protocol 2. Others make objects, or
allocate memory by a number in the file."""


@dataclass(frozen=True, slots=True)
class _Storage:
    dtype: np.dtype[Any]
    length: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A view of a storage: the arguments of `torch._utils._rebuild_tensor_v2`, in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    requires_grad: bool
    backward_hooks: object
    metadata: Mapping[str, bool] | None = None


_NAMED: dict[str, Any] = {
    "torch._utils _rebuild_tensor_v2": _Tensor,
    "collections OrderedDict": OrderedDict,
    "torch FloatStorage": np.dtype("f4"),
    "torch HalfStorage": np.dtype("f2"),
    "torch BFloat16Storage": np.dtype("u2"),
    "torch DoubleStorage": np.dtype("f8"),
}


def read(
    content: bytes, stem: str, convention: Convention | None, layer: int | None = None
) -> FileContent:
    """Reads a tensor [layers + 1, hidden], or [hidden] of a layer, given or in the file's name.

    Rows count hidden states unless the convention says otherwise, so that row r is block r - 1 and
    the first and last rows are left out; with blocks, row r is block r and all are read. A single
    vector's layer counts blocks unless the convention says otherwise.
    """
    rows = _numbers(content)
    if rows.ndim == 1:
        return _single(rows, stem, convention or Convention.BLOCK, layer)
    if layer is not None:
        raise VectorFileError(f"holds {len(rows)} rows, not the single vector of a layer")
    trait_name = _DIFF_SUFFIX.sub("", stem)
    method = _DIFF_SUFFIX.search(stem)
    metadata: dict[str, Any] = {"method": f"persona_vectors {method[1]}"} if method else {}
    if convention is Convention.BLOCK:
        return FileContent(dict(enumerate(rows)), trait_name, metadata=metadata)
    last = len(rows) - 1
    if last < 2:
        raise VectorFileError(
            f"has {len(rows)} rows: hidden states have at least 3, the embeddings, a block's "
            "output and the one after the final norm"
        )
    metadata[NOTE] = (
        f"row 0 (the embeddings) and row {last} (after the final norm, not the output of block "
        f"{last - 1}) were left out"
    )
    if convention is None:
        metadata[ASSUMED_ROWS] = len(rows)
        metadata[NOTE] += (
            f"; its {len(rows)} rows were taken for the hidden states of a model of {last} blocks: "
            f"if that has {len(rows)}, each row is a block's, and --convention block reads it right"
        )
    blocks = {Convention.HIDDEN_STATE.block_of(row): rows[row] for row in range(1, last)}
    return FileContent(blocks, trait_name, metadata=metadata)


def write(vector: PersonaVector) -> bytes:
    """Returns a tensor as persona_vectors saves it, with zeros in the first and last rows.

    Names and metadata are lost.

    Raises:
        VectorFileError: The vector lacks a block before its last one, which a tensor cannot
            represent; or torch is missing.
    """
    try:
        import torch
    except ImportError as error:
        raise VectorFileError(
            "needs the torch package to be written: pip install torch, or use safetensors, GGUF or "
            "JSON"
        ) from error
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


def _single(
    vector: NDArray[np.float32], stem: str, convention: Convention, layer: int | None
) -> FileContent:
    layers = [int(each[:5]) for each in _LAYER_IN_NAME.findall(stem)] if layer is None else [layer]
    if len(layers) != 1:
        raise VectorFileError(
            "holds a single vector, but its name does not say for which layer: say it with "
            "--layer of persona vectors import, or rename it to something like sarcasm_layer_20.pt"
        )
    block = convention.block_of(checked_index(str(layers[0])))
    return FileContent({block: vector}, _LAYER_IN_NAME.sub("", stem))


def _numbers(content: bytes) -> NDArray[np.float32]:
    """Returns the tensor, float32 [hidden] or [rows, hidden]."""
    parts = _parts(content)
    _check_pickle(parts["data.pkl"])
    try:
        tensor = _Unpickler(io.BytesIO(parts["data.pkl"])).load()
    except Exception as error:
        # What a damaged pickle raises depends on where it is damaged.
        raise VectorFileError(f"has a damaged pickle: {error}") from error
    if not (isinstance(tensor, _Tensor) and isinstance(tensor.storage, _Storage)):
        raise VectorFileError(f"holds a {type(tensor).__name__}: use a plain tensor")
    shape = tensor.shape
    if not all(_are_counts(each) for each in (shape, tensor.strides, (tensor.offset,))) or len(
        shape
    ) != len(tensor.strides):
        raise VectorFileError("describes an impossible tensor: its sizes are not counts")
    if len(shape) not in (1, 2):
        raise VectorFileError(
            f"holds a tensor of shape {list(shape)}: use [layers + 1, hidden] or [hidden]"
        )
    check_hidden_size(shape[-1], "a row of its tensor")
    if not 1 <= shape[0] <= MAX_BLOCKS + 1 and len(shape) == 2:
        raise VectorFileError(f"has {shape[0]} rows: no model has more than {MAX_BLOCKS} blocks")
    numbers = as_float32(_view(tensor, parts), "its tensor")
    return -numbers if (tensor.metadata or {}).get("neg") else numbers


def _view(tensor: _Tensor, parts: Mapping[str, bytes]) -> NDArray[Any]:
    """Returns the elements of a tensor with a valid shape, a view of the file's storage."""
    dtype = tensor.storage.dtype.newbyteorder(">" if parts.get("byteorder") == b"big" else "<")
    data = parts["data/0"]
    if not _are_counts((tensor.storage.length,)) or tensor.storage.length * dtype.itemsize > len(
        data
    ):
        raise VectorFileError("is truncated: its tensor is longer than its data")
    steps = zip(tensor.shape, tensor.strides, strict=True)
    last = tensor.offset + sum((size - 1) * stride for size, stride in steps)
    # A stride of zero repeats elements, so the shape can exceed the storage.
    if last >= tensor.storage.length or math.prod(tensor.shape) > tensor.storage.length:
        raise VectorFileError("describes a tensor larger than the file")
    return np.lib.stride_tricks.as_strided(
        np.frombuffer(data, dtype, tensor.storage.length)[tensor.offset :],
        tensor.shape,
        [stride * dtype.itemsize for stride in tensor.strides],
        writeable=False,
    )


def _is_array(pickled: bytes) -> bool:
    """Whether a pickle begins as that of a NumPy array."""
    return b"numpy" in pickled[:_ARRAY_BYTES] and b"_reconstruct" in pickled[:_ARRAY_BYTES]


def _are_counts(values: object) -> bool:
    return isinstance(values, tuple) and all(type(each) is int and each >= 0 for each in values)


class _Unpickler(pickle.Unpickler):
    """Unpickles a checked pickle with the classes in `_NAMED` only."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        return _NAMED[f"{module_name} {global_name}"]

    def persistent_load(self, pid: Any, /) -> _Storage:
        _, kind, key, _, length = pid
        if key != "0" or not isinstance(kind, np.dtype):
            raise pickle.UnpicklingError("no storage of this file")
        return _Storage(kind, length)


def _parts(content: bytes) -> dict[str, bytes]:
    """Returns the uncompressed parts of the zip archive, by name."""
    if not content.startswith(b"PK\x03\x04"):
        if _is_array(content):
            raise VectorFileError(_ARRAY_HINT)
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
        # zipfile also raises errors of struct, of offsets and of encodings.
        raise VectorFileError(f"is not an intact file of torch.save: {error}") from error
    if _is_array(parts.get("data.pkl", b"")):
        raise VectorFileError(_ARRAY_HINT)
    tensors = [name for name in parts if name.startswith("data/")]
    if "data.pkl" not in parts or tensors != ["data/0"]:
        raise VectorFileError("does not hold exactly one tensor: save a single tensor")
    return parts


def _check_pickle(pickled: bytes) -> None:
    """Refuses a pickle that names or makes anything that rebuilding a tensor does not need."""
    if len(pickled) > _MAX_PICKLE_BYTES:
        raise VectorFileError("holds more than one tensor: save a single tensor")
    try:
        for opcode, argument, _ in pickletools.genops(pickled):
            if opcode.name == "GLOBAL" and argument not in _NAMED:
                raise VectorFileError(
                    f"holds a {argument!r:.60}, not a plain tensor of floats; a pickle can run "
                    "code and is never loaded: save a tensor with torch.save(tensor, path)"
                )
            # The memo grows to the largest index that is written to it.
            memo_grows = opcode.name == "LONG_BINPUT" and int(argument or 0) > _MAX_PICKLE_BYTES
            if not _OPCODES.fullmatch(opcode.name) or memo_grows:
                raise VectorFileError(
                    "holds Python objects, not a plain tensor: save a tensor with "
                    "torch.save(tensor, path)"
                )
    except VectorFileError:
        raise
    except Exception as error:
        # pickletools raises ValueError for most malformed pickles, but not for all.
        raise VectorFileError(f"has a damaged pickle: {error}") from error

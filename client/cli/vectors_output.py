"""How the `persona vectors` commands show things."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from persona_client.cli import output

if TYPE_CHECKING:
    from triton_models.vectors.difference import VectorDifference
    from triton_models.vectors.persona_vector import PersonaVector

_HASH_DIGITS = 12
_METADATA_WIDTH = 300


def print_written(vector: PersonaVector, path: str, notes: Sequence[str]) -> None:
    """Says what was written, and what a user should know about it."""
    blocks = ", ".join(map(str, vector.blocks))
    output.write(
        f"wrote {path}: {vector.trait_name}, blocks {blocks}, {vector.hidden_size} elements each\n"
    )
    for note in notes:
        output.write(f"note: {note}\n")


def import_notes(vector: PersonaVector) -> list[str]:
    """What was left out of an imported file, or is missing in it."""
    notes = []
    if isinstance(left_out := vector.metadata.get("import_note"), str):
        notes.append(left_out)
    if not vector.model_name:
        notes.append("the file does not say its model: --model-name records it")
    if "selected_layers" not in vector.metadata and "selected_layer" not in vector.metadata:
        notes.append("without --layers, a request that names no layers steers all of them")
    return notes


def export_notes(vector: PersonaVector, suffix: str) -> list[str]:
    """What the written format cannot hold, or its readers do not take."""
    notes = []
    if suffix == ".gguf" and 0 in vector.blocks:
        notes.append("llama.cpp refuses direction.0, which this file has; repeng takes it")
    if suffix in (".pt", ".svec"):
        notes.append(f"{suffix} keeps the numbers only: the names and the metadata are lost")
    if vector.operation is not None and suffix in (".gguf", ".pt", ".svec"):
        notes.append(
            f"the vector is for the operation {vector.operation.kind}: other tools that read "
            f"{suffix} add it, unless they know the keys glp.* of a .gguf"
        )
    return notes


def print_vector(vector: PersonaVector, as_json: bool) -> None:
    """Prints a vector: a line for each block, and what the file says besides."""
    residual_norms = vector.residual_norms
    rows = [
        (
            block,
            norm,
            norm / residual_norms[block] if block in residual_norms else None,
            block in vector.selected_blocks,
        )
        for block, norm in vector.norms.items()
    ]
    if as_json:
        keys = ("block", "norm", "norm_over_residual", "selected")
        output.print_json(
            {
                "trait_name": vector.trait_name,
                "model_name": vector.model_name,
                "source": vector.source,
                "sha256": vector.sha256,
                "hidden_size": vector.hidden_size,
                "operation": _operation(vector),
                "blocks": [dict(zip(keys, row, strict=True)) for row in rows],
                "metadata": vector.metadata,
            }
        )
        return
    output.write(
        f"trait:    {vector.trait_name}\n"
        f"model:    {vector.model_name or 'not said'}\n"
        f"file:     {vector.source}, sha256 {vector.sha256[:_HASH_DIGITS]}\n"
        f"elements: {vector.hidden_size}\n"
        f"meant to: {_purpose(vector)}\n\n"
    )
    table = output.plain_table("block", "norm", "norm / residual", "selected", justify="right")
    for block, norm, ratio, selected in rows:
        table.add_row(str(block), f"{norm:.4g}", _number(ratio), "yes" if selected else "")
    Console(highlight=False).print(table)
    if vector.metadata:
        output.write("\n")
    for key, value in vector.metadata.items():
        output.write(f"{key}: {_shortened(value)}\n")


def print_difference(found: VectorDifference, as_json: bool) -> None:
    """Prints a line for each block that two vectors share, and which ones only one has."""
    if as_json:
        output.print_json(
            {
                "equal": found.equal,
                "blocks": {
                    str(block): dataclasses.asdict(each) for block, each in found.blocks.items()
                },
                "only_first": list(found.only_first),
                "only_second": list(found.only_second),
            }
        )
        return
    table = output.plain_table("block", "cosine", "norm ratio", "equal", justify="right")
    for block, each in found.blocks.items():
        cosine = "" if each.cosine is None else f"{each.cosine:.6f}"
        table.add_row(str(block), cosine, _number(each.norm_ratio), "yes" if each.equal else "no")
    Console(highlight=False).print(table)
    for which, blocks in (("first", found.only_first), ("second", found.only_second)):
        if blocks:
            output.write(f"only the {which} has blocks {', '.join(map(str, blocks))}\n")
    output.write("equal\n" if found.equal else "different\n")


def _operation(vector: PersonaVector) -> dict[str, Any] | None:
    from triton_models.contract.steering_document import vector_operation_json

    return None if vector.operation is None else vector_operation_json(vector.operation)


def _purpose(vector: PersonaVector) -> str:
    operation = vector.operation
    if operation is None:
        return "be added"
    if operation.kind == "ablate":
        return operation.kind
    unit = "p" if operation.unit == "percentile" else ""
    return f"{operation.kind} at {unit}{operation.value:g}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _shortened(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= _METADATA_WIDTH else f"{text[:_METADATA_WIDTH]} ..."

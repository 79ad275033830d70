"""The `persona vectors` commands: vector files, without a server.

They need more than the client does, so what they need is imported when they run: `persona generate`
goes on working where only the client is installed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from persona_client.cli import options, vector_files, vectors_output

if TYPE_CHECKING:
    from triton_models.vectors.persona_vector import PersonaVector

vectors_app = typer.Typer(
    help=(
        "Make, calibrate, evaluate, import, export, show and compare vectors; upload and remove "
        "them."
    ),
    no_args_is_help=True,
)

DEFAULT_FOLDER = Path("data/vectors")


File = Annotated[Path, typer.Argument(help="A .json, .safetensors, .gguf, .pt or .svec file.")]


@vectors_app.command("import")
def import_vector(
    file: File,
    trait: Annotated[
        str | None,
        typer.Option(help="The trait's name. Default: what the file, or its name, says."),
    ] = None,
    model_name: Annotated[
        str | None, typer.Option(help="The model the vector was made from.")
    ] = None,
    convention: options.Convention = None,
    layer: Annotated[
        int | None,
        typer.Option(
            min=0, help="The layer of a .pt file's single vector. Default: what its name says."
        ),
    ] = None,
    layers: Annotated[
        str | None, typer.Option(help="Blocks to steer when a request names none, like 15,20.")
    ] = None,
    to: Annotated[Path, typer.Option(help="The server's folder of vectors.")] = DEFAULT_FOLDER,
    form: Annotated[
        Literal["json", "safetensors"],
        typer.Option(
            "--format", help="Of the file to write; safetensors is smaller, for large models."
        ),
    ] = "json",
    overwrite: Annotated[bool, typer.Option(help="Replace the trait's vector.")] = False,
) -> None:
    """Put a vector of any format into a server's folder, in the project's own."""
    selected = options.blocks(layers)
    with vector_files.failures():
        from triton_models.vectors.editing import with_selected
        from triton_models.vectors.formats import read_vector, write_vector
        from triton_models.vectors.persona_vector import check_trait_name

        vector = read_vector(
            file, trait_name=trait, model_name=model_name, convention=convention, layer=layer
        )
        if selected:
            vector = with_selected(vector, selected)
        target = to / f"{check_trait_name(vector.trait_name)}.{form}"
        _check_free(target, vector.trait_name, overwrite)
        to.mkdir(parents=True, exist_ok=True)
        write_vector(vector, target)
    vectors_output.print_written(vector, str(target), vectors_output.import_notes(vector))


@vectors_app.command("export")
def export_vector(
    vector: Annotated[str, typer.Argument(help="A trait of the folder, or a vector file.")],
    out: Annotated[Path, typer.Argument(help="The file to write; its suffix says the format.")],
    folder: Annotated[Path, typer.Option(help="The folder of vectors.")] = DEFAULT_FOLDER,
    layers: Annotated[
        str | None, typer.Option(help="Blocks to write, like 1,2,3 or 1-35. Default: all.")
    ] = None,
    for_llama_cpp: Annotated[
        bool, typer.Option(help="Refuse to write what llama.cpp refuses to read.")
    ] = False,
) -> None:
    """Write a vector in another format, for another tool."""
    blocks = options.blocks(layers)
    with vector_files.failures():
        from triton_models.vectors.editing import only_blocks
        from triton_models.vectors.formats import write_vector

        found = _find(vector, folder)
        if blocks:
            found = only_blocks(found, blocks)
        _check_for_llama_cpp(found, out, for_llama_cpp)
        write_vector(found, out)
    vectors_output.print_written(found, str(out), vectors_output.export_notes(found, out.suffix))


@vectors_app.command("show")
def show_vector(
    file: Annotated[str, typer.Argument(help="A vector file, or a trait of the folder.")],
    folder: Annotated[Path, typer.Option(help="The folder of vectors.")] = DEFAULT_FOLDER,
    convention: options.Convention = None,
    as_json: options.Json = False,
) -> None:
    """Show what a vector file holds: its blocks, their norms, its hash and its metadata."""
    with vector_files.failures():
        found = _find(file, folder, convention)
    vectors_output.print_vector(found, as_json)


@vectors_app.command("diff")
def diff_vectors(
    first: Annotated[str, typer.Argument(help="A vector file, or a trait of the folder.")],
    second: Annotated[str, typer.Argument(help="Another.")],
    folder: Annotated[Path, typer.Option(help="The folder of vectors.")] = DEFAULT_FOLDER,
    as_json: options.Json = False,
) -> None:
    """Compare two vectors, block by block; if they differ, exit with status 1."""
    with vector_files.failures():
        from triton_models.vectors.difference import difference

        found = difference(_find(first, folder), _find(second, folder))
    vectors_output.print_difference(found, as_json)
    if not found.equal:
        raise typer.Exit(1)


def _find(named: str, folder: Path, convention: str | None = None) -> PersonaVector:
    """Reads a file, or a trait's file in a folder."""
    from triton_models.vectors.formats import find_vector, read_vector

    return read_vector(find_vector(named, folder), convention=convention)


def _check_free(target: Path, trait: str, overwrite: bool) -> None:
    """Keeps a trait from being replaced by accident, or from having two files."""
    from triton_models.vectors.formats import VECTOR_SUFFIXES
    from triton_models.vectors.persona_vector import VectorFileError

    files = [target.with_name(f"{trait}{suffix}") for suffix in VECTOR_SUFFIXES]
    for file in files:
        if not file.exists() or (overwrite and file == target):
            continue
        hint = "add --overwrite to replace it" if file == target else "remove it first"
        raise VectorFileError(f"{file} is there already: {hint}, or give another --trait")


def _check_for_llama_cpp(vector: PersonaVector, out: Path, wanted: bool) -> None:
    from triton_models.vectors.persona_vector import VectorFileError

    if not wanted:
        return
    if out.suffix != ".gguf":
        raise VectorFileError(f"{out.name}: llama.cpp reads .gguf only")
    if 0 in vector.blocks:
        last = max(vector.blocks)
        raise VectorFileError(
            f"{out.name}: llama.cpp refuses a file that steers block 0: leave it out with "
            f"--layers 1-{last}"
        )

"""Vector files that commands read, and how reading them fails.

That needs more than the client does, so what it needs is imported when it is done: `persona
generate` goes on working where only the client is installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import typer

from persona_client.cli import exits
from persona_client.vectors import Layers, Vector, Vectors


@contextmanager
def failures() -> Iterator[None]:
    """Turns what can go wrong with vector files into one line and exit status 1."""
    try:
        try:
            from triton_models.vectors.persona_vector import VectorFileError
        except ImportError as error:
            exits.fail(
                f"this needs the package {error.name}: in a clone of the project, "
                "pip install '.[server]'"
            )
        try:
            yield
        except VectorFileError as error:
            exits.fail(str(error))
    except OSError as error:
        exits.fail(f"{error.filename or 'the file'}: {error.strerror}")


def request_vectors(
    named: Sequence[str] | None, layers: Sequence[int], read_at: Sequence[int] = ()
) -> Vectors:
    """Reads what `--vector` names, at these layers, or at those that each vector selects.

    Those where it is read come along if layers are given; else it would be steered there too.
    """
    wanted = [*layers, *read_at] if layers else []
    found: dict[str, Layers | Vector] = {}
    for text in named or ():
        name, _, path = text.partition("=")
        if not name or not path or name in found:
            raise typer.BadParameter(
                f"--vector is {text!r}: give a name and a file, as mine=mine.gguf, each name once"
            )
        found[name] = _vector(path, wanted)
    return found


def _vector(path: str, layers: Sequence[int]) -> Layers | Vector:
    with failures():
        from triton_models.vectors.formats import read_vector

        vector = read_vector(path, trait_name="request")
        wanted = layers or vector.selected_blocks
        blocks = {block: vector.blocks[block] for block in wanted if block in vector.blocks}
        if not blocks:
            exits.fail(
                f"{path} has none of the layers {list(wanted)}: it has {list(vector.blocks)}"
            )
    operation = vector.metadata.get("operation")
    return blocks if operation is None else Vector(blocks, operation)

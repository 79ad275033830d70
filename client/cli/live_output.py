"""How the command shows what is read at each token, while the answer is written."""

from __future__ import annotations

from collections.abc import Mapping

from persona_client.cli.output import printable, quoted, write
from persona_client.readouts import TokenProjection
from persona_client.results import Chunk

_LABEL_WIDTH = 14


def print_piece(chunk: Chunk) -> None:
    """Prints a line for each turn of the prompt, and each token, that a piece tells of."""
    for turn in chunk.turn_readouts:
        _print_line(
            turn.role,
            {
                (trait, layer): f"{mean:+.2f}"
                for trait, means in turn.readouts.items()
                for layer, mean in means.items()
            },
        )
    for token in chunk.token_readouts:
        _print_line(
            quoted(token.token),
            {
                (trait, layer): _shown(read)
                for trait, blocks in token.readouts.items()
                for layer, read in blocks.items()
            },
        )


def _print_line(label: str, read: Mapping[tuple[str, int], str]) -> None:
    shown = "  ".join(f"{trait} {layer}: {text}" for (trait, layer), text in read.items())
    write(f"{printable(label):<{_LABEL_WIDTH}}  {printable(shown)}".rstrip() + "\n")


def _shown(read: TokenProjection) -> str:
    """Returns a projection, before and after steering where it differs, and its percentile."""
    before, after = f"{read.before:+.2f}", f"{read.after:+.2f}"
    text = after if before == after else f"{before} -> {after}"
    return text if read.percentile is None else f"{text} (p{read.percentile:.0f})"

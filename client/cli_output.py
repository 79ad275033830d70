"""How the command shows things."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from client.results import Completion, Status, Trait

_NARROWEST_COLUMN = 24


_CONTROLS = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def write(text: str) -> None:
    """Writes text at once; on a terminal, without characters that would control it."""
    sys.stdout.write(text.translate(_CONTROLS) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def print_json(value: Any) -> None:
    """Prints a value as JSON."""
    write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def print_comparison(trait: str, completions: Sequence[Completion]) -> None:
    """Prints answers side by side if the terminal has room for it, else one after the other."""
    console = Console(highlight=False)
    if console.is_terminal and console.width >= _NARROWEST_COLUMN * len(completions):
        table = Table(expand=True)
        for completion in completions:
            table.add_column(_title(trait, completion), ratio=1, overflow="fold")
        table.add_row(*(Text(completion.response) for completion in completions))
        console.print(table)
        return
    blocks = (f"{_title(trait, item)}\n{item.response}\n" for item in completions)
    write("\n".join(blocks))


def print_traits(traits: Mapping[str, Trait]) -> None:
    """Prints a table of traits."""
    console = Console(highlight=False)
    if not traits:
        console.print("the server has no traits: put vectors into data/vectors")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("trait", "made from", "layers", "steers at"):
        table.add_column(title)
    for name, trait in sorted(traits.items()):
        layers, selected = (
            ", ".join(map(str, blocks)) for blocks in (trait.layers, trait.selected_layers)
        )
        table.add_row(Text(name), Text(trait.model_name), layers, selected)
    console.print(table)
    for name, trait in sorted(traits.items()):
        for warning in trait.warnings:
            console.print(Text(f"{name}: {warning}"))


def print_status(status: Status) -> None:
    """Prints what a server says about itself."""
    lines = {
        "status": "ready" if status.ready else "not ready",
        "reason": status.error,
        "model": status.model,
        "device": status.device,
        "traits": ", ".join(status.available_traits),
        "running": status.engine.get("running"),
        "waiting": status.engine.get("waiting"),
    }
    for name, value in lines.items():
        if value not in (None, ""):
            write(f"{name + ':':<9} {value}\n")
    for problem in status.problems:
        write(f"problem:  {problem.get('source')}: {problem.get('reason')}\n")


def _title(trait: str, completion: Completion) -> str:
    return f"{trait} {completion.scalar:+g}" if completion.scalar else "baseline"

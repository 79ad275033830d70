"""How the command shows things."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from client.results import Completion, LikelyToken, Readouts, Status, TokenLogprob, Trait

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
    else:
        blocks = (f"{_title(trait, item)}\n{item.response}\n" for item in completions)
        write("\n".join(blocks))
    answers = {
        _title(trait, item): item.readouts for item in completions if item.readouts is not None
    }
    if answers:
        write("\n")
        print_readouts(answers)


def print_details(completion: Completion) -> None:
    """Prints what was asked for about an answer besides its text."""
    if completion.logprobs is not None:
        write("\n")
        print_logprobs(completion.logprobs)
    if completion.readouts is not None:
        write("\n")
        print_readouts({"mean projection": completion.readouts})


def print_logprobs(logprobs: Sequence[TokenLogprob]) -> None:
    """Prints a line for each token: it, its probability, and the likeliest with theirs."""
    table = Table(box=None, pad_edge=False)
    for title in ("token", "probability", "likeliest"):
        table.add_column(title)
    for each in logprobs:
        likeliest = "  ".join(f"{_quoted(top)} {_percent(top)}" for top in each.top_logprobs)
        table.add_row(Text(_quoted(each)), _percent(each), Text(likeliest))
    Console(highlight=False).print(table)


def print_readouts(answers: Mapping[str, Readouts]) -> None:
    """Prints a line for each monitored trait and layer, and a column for each answer.

    Args:
        answers: For each column's title the answer's readouts.
    """
    rows = {
        (trait, layer): None
        for readouts in answers.values()
        for trait, means in readouts.items()
        for layer in means
    }
    if not rows:
        write("nothing to read: an answer of one token has no hidden states of its own\n")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("monitored")
    table.add_column("layer", justify="right")
    for title in answers:
        table.add_column(title, justify="right")
    for trait, layer in rows:
        means = (readouts.get(trait, {}).get(layer) for readouts in answers.values())
        cells = ("" if mean is None else f"{mean:+.2f}" for mean in means)
        table.add_row(Text(trait), str(layer), *cells)
    Console(highlight=False).print(table)


def _quoted(token: LikelyToken) -> str:
    # As JSON, so that spaces and line ends are seen.
    return json.dumps(token.token, ensure_ascii=False).translate(_CONTROLS)


def _percent(token: LikelyToken) -> str:
    return f"{100 * math.exp(token.logprob):.1f}%"


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
        "KV cache": _kv_cache(status.engine),
    }
    for name, value in lines.items():
        if value not in (None, ""):
            write(f"{name + ':':<9} {value}\n")
    for problem in status.problems:
        write(f"problem:  {problem.get('source')}: {problem.get('reason')}\n")


def _kv_cache(engine: Mapping[str, Any]) -> str:
    if "kv_tokens_total" not in engine:
        return ""
    return f"{engine['kv_tokens_used']} of {engine['kv_tokens_total']} tokens"


def _title(trait: str, completion: Completion) -> str:
    return f"{trait} {completion.scalar:+g}" if completion.scalar else "baseline"

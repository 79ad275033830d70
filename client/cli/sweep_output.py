"""How a sweep is shown: while it runs, as a table with bars, and as an image."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from persona_client.cli import output
from persona_client.comparisons import SweptAnswer

_BAR_WIDTH = 21
_PIPED_WIDTH = 100


@contextmanager
def progress(total: int) -> Iterator[Callable[[], None]]:
    """Shows how many answers there are, if somebody watches; gives what to call for each."""
    columns = (TextColumn("answers"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as it:
        task = it.add_task("answers", total=total)
        yield lambda: it.advance(task)


def print_sweep(title: str, answers: Sequence[SweptAnswer], scored: bool) -> None:
    """Prints a line for each answer: scalar or value, scores, a bar of the net one, and text."""
    console = Console(highlight=False)
    if not console.is_terminal:
        # Whoever reads it from a file has no width that could be asked for.
        console = Console(highlight=False, width=_PIPED_WIDTH)
    table = Table(box=None, pad_edge=False)
    table.add_column(Text(title), justify="right")
    if scored:
        table.add_column("score", justify="right")
        table.add_column("net", justify="right")
        table.add_column("")
    table.add_column("answer", ratio=1, overflow="fold")
    nets = [each.net_score for each in answers if each.net_score is not None]
    reach = max(map(abs, nets), default=0.0)
    for each in answers:
        cells = [f"{each.scalar:+g}" if each.scalar else f"{each.number:g}"]
        if scored:
            scores = (each.score, each.net_score)
            cells += ["" if score is None else f"{score:+.2f}" for score in scores]
            cells.append(_bar(each.net_score, reach))
        table.add_row(*cells, Text(output.printable(output.shown(each))))
    console.print(table)
    output.print_warnings(answers)
    output.print_limits((f"{each.number:+g}", each) for each in answers)


def _bar(net_score: float | None, reach: float) -> str:
    """Draws a score from the middle to the left or right; `""` if there is none."""
    if net_score is None:
        return ""
    half = _BAR_WIDTH // 2
    length = round(half * net_score / reach) if reach else 0
    left = "█" * -length if length < 0 else ""
    right = "█" * length if length > 0 else ""
    return f"{left:>{half}}│{right:<{half}}"


def can_plot() -> bool:
    """Whether what draws images is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def write_plot(path: Path, axis: str, answers: Sequence[SweptAnswer]) -> None:
    """Draws the scores over the scalars or values.

    Raises:
        OSError: The file cannot be written.
        ValueError: Its suffix is of no format that can be.
    """
    # Without `pyplot`, which would look for a screen.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, title in (("score", "with what steering adds"), ("net_score", "net of it")):
        scores = {each.number: getattr(each, name) for each in answers}
        known = sorted((at, score) for at, score in scores.items() if score is not None)
        axes.plot([at for at, _ in known], [score for _, score in known], marker="o", label=title)
    axes.legend()
    axes.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    axes.set(xlabel=axis, ylabel="mean projection of the answer")
    figure.savefig(path, dpi=150)

"""Matrices of traits by traits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from persona_research.evaluation.cross_trait import Cosines, Movement
from persona_research.evaluation.tables import scalar_text
from persona_research.figure import DIVERGING, GREY, save, style
from persona_research.judges.judge import Scale

_WHITE_TEXT_FROM = 0.7
"""Share of the scale's end from which a cell is too dark for black text."""


def plot_movements(movements: Sequence[Movement], scale: Scale, path: Path) -> list[Path]:
    """Draws a matrix for each direction of turning: rows are steered, columns judged."""
    directions = {
        "turned up": [each for each in movements if each.scalar > 0],
        "turned down": [each for each in movements if each.scalar < 0],
    }
    shown = {title: items for title, items in directions.items() if items}
    judged = list(dict.fromkeys(each.judged for each in movements))
    most = scale.span or max(abs(each.change.value) for each in movements)
    with style(grid=False):
        size = (len(shown) * (2.0 + 0.7 * len(judged)) + 0.8, 2.4 + 0.5 * len(judged))
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(1, len(shown), squeeze=False)[0]
        for axes, (title, items) in zip(panels, shown.items(), strict=True):
            rows = {each.steered: each.scalar for each in items}
            cells = {(each.steered, each.judged): each for each in items}
            table = [[cells[steered, each].change.value for each in judged] for steered in rows]
            image = axes.imshow(table, cmap=DIVERGING, vmin=-most, vmax=most, aspect="auto")
            for row, steered in enumerate(rows):
                for column, trait in enumerate(judged):
                    change = cells[steered, trait].change
                    colour = _text_colour(change.value / most)
                    if change.low <= 0 <= change.high:
                        colour = GREY
                    text = f"{change.value:+{scale.form}}"
                    axes.text(column, row, text, color=colour, ha="center", va="center")
            names = [f"{trait} {scalar_text(scalar)}" for trait, scalar in rows.items()]
            _name_cells(axes, names, judged)
            axes.set(title=title, xlabel="judged", ylabel="steered, by scalar")
        figure.colorbar(image, ax=list(panels), label=f"change of {scale.name} ({scale.unit})")
        figure.suptitle("Grey numbers: the 95% bootstrap interval over questions includes 0")
        return save(figure, path)


def plot_cosines(tables: Sequence[Cosines], path: Path) -> list[Path]:
    """Draws the cosines between the vectors, a matrix for each block."""
    with style(grid=False):
        side = 2.2 + 0.6 * max(len(table.traits) for table in tables)
        figure = Figure(figsize=(len(tables) * side + 0.8, side), layout="constrained")
        panels = figure.subplots(1, len(tables), squeeze=False)[0]
        for axes, table in zip(panels, tables, strict=True):
            image = axes.imshow(table.values, cmap=DIVERGING, vmin=-1, vmax=1)
            for row, values in enumerate(table.values):
                for column, value in enumerate(values):
                    colour = _text_colour(value)
                    axes.text(column, row, f"{value:+.2f}", color=colour, ha="center", va="center")
            _name_cells(axes, table.traits, table.traits)
            axes.set_title(f"vectors at the output of block {table.block}")
        figure.colorbar(image, ax=list(panels), label="cosine", shrink=0.8)
        return save(figure, path)


def _text_colour(share: float) -> str:
    return "white" if abs(share) > _WHITE_TEXT_FROM else "black"


def _name_cells(axes: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right", rotation_mode="anchor")
    axes.tick_params(length=0)

"""Measures of tasks over the scalar."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from persona_research.capability.points import Point
from persona_research.figure import COLOURS, GREY, MARKERS, save, style

_COLUMNS = 2


def plot_capability(points: Sequence[Point], path: Path) -> list[Path]:
    """Draws a panel for each task and measure, and in it a line for each trait."""
    panels = list(dict.fromkeys((point.task, point.measure) for point in points))
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    with style():
        figure = Figure(figsize=(4.5 * columns, 3.2 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False).flat
        for axes, (task, measure) in zip(grid, panels, strict=False):
            _draw(axes, [each for each in points if (each.task, each.measure) == (task, measure)])
            axes.set(title=f"{task}: {measure}", xlabel="scalar", ylabel=measure)
        for axes in list(grid)[len(panels) :]:
            axes.axis("off")
        return save(figure, path)


def _draw(axes: Axes, points: Sequence[Point]) -> None:
    traits = list(dict.fromkeys(point.trait for point in points))
    for place, trait in enumerate(traits):
        line = sorted((each for each in points if each.trait == trait), key=lambda p: p.scalar)
        scalars = [point.scalar for point in line]
        colour = COLOURS[place % len(COLOURS)]
        axes.plot(
            scalars,
            [point.estimate.value for point in line],
            color=colour,
            marker=MARKERS[place % len(MARKERS)],
            markersize=4,
            label=trait,
        )
        ends = [point.estimate.low for point in line], [point.estimate.high for point in line]
        axes.fill_between(scalars, *ends, color=colour, alpha=0.2, linewidth=0)
    axes.axvline(0, color=GREY, linewidth=0.8, linestyle=":")
    axes.legend(frameon=False, title="band: 95% interval")

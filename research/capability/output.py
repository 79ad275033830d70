"""Writes what steering costs: a report with tables and a plot, and all numbers as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from persona_research.capability.plot import plot_capability
from persona_research.capability.points import Point
from persona_research.evaluation.tables import (
    estimate_columns,
    interval_text,
    scalar_text,
    write_csv,
)
from persona_research.markdown import markdown_table

REPORT = "report.md"
_NAME = "capability"


def write_capability(points: Sequence[Point], folder: Path, notes: str) -> Path:
    """Writes report, plot (PNG, SVG) and table (CSV); returns the report's path.

    Args:
        points: What was measured.
        folder: Where to; it is made.
        notes: A sentence or two on how it was measured.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plot, _ = plot_capability(points, folder / _NAME)
    write_csv(folder / f"{_NAME}.csv", [_row(point) for point in points])
    parts = ["# What steering costs in capability", notes, f"![Measures]({plot.name})"]
    for task in dict.fromkeys(point.task for point in points):
        of_task = [point for point in points if point.task == task]
        parts += [f"## {task}", capability_table(of_task)]
    report = folder / REPORT
    report.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return report


def capability_table(points: Sequence[Point]) -> str:
    """A row for each trait and scalar of one task, a column for each measure, in Markdown."""
    measures = list(dict.fromkeys(point.measure for point in points))
    cells = {(each.trait, each.scalar, each.measure): each for each in points}
    rows = []
    for trait, scalar in sorted({(point.trait, point.scalar) for point in points}):
        found = [cells.get((trait, scalar, measure)) for measure in measures]
        count = max(point.items for point in found if point)
        texts = [interval_text(each.estimate, ".2f") if each else "" for each in found]
        rows.append([trait, scalar_text(scalar), str(count), *texts])
    return markdown_table(["trait", "scalar", "questions", *measures], rows)


def _row(point: Point) -> dict[str, object]:
    return {
        "task": point.task,
        "measure": point.measure,
        "trait": point.trait,
        "scalar": point.scalar,
        "questions": point.items,
        **estimate_columns("value", point.estimate),
    }

"""How all plots look, and how they become files.

Colours are Okabe and Ito's, or matplotlib's cividis and PuOr, which people who are colour-blind can
tell apart. Colour is never alone: curves have markers, cells have numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#555555"
LIGHT_GREY = "#EDEDED"
DIVERGING = "PuOr_r"

PNG_DOTS_PER_INCH = 120


@contextmanager
def style(grid: bool = True) -> Iterator[None]:
    """Draws what is inside in the style of all plots."""
    settings = {
        "axes.grid": grid,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlesize": 10,
        "font.size": 9,
        "grid.alpha": 0.25,
        # Two runs write the same file.
        "svg.hashsalt": "persona",
    }
    with matplotlib.rc_context(settings):
        yield


def save(figure: Figure, path: Path) -> list[Path]:
    """Writes a figure at a path without suffix, as PNG and as SVG, and returns both paths.

    A figure that was never given to pyplot is drawn without a display and needs no closing.
    """
    png, svg = path.with_name(path.name + ".png"), path.with_name(path.name + ".svg")
    figure.savefig(png, dpi=PNG_DOTS_PER_INCH)
    # What was found for one file, where everything lies, holds for the other as well.
    figure.set_layout_engine("none")
    figure.savefig(svg, metadata={"Date": None})
    return [png, svg]

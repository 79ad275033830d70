"""The plots of an evaluation."""

from research.evaluation.plots.blocks import plot_blocks
from research.evaluation.plots.doses import plot_doses
from research.evaluation.plots.matrices import plot_cosines, plot_movements

__all__ = ["plot_blocks", "plot_cosines", "plot_doses", "plot_movements"]

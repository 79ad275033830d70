"""The plots of an evaluation."""

from persona_research.evaluation.plots.blocks import plot_blocks
from persona_research.evaluation.plots.doses import plot_doses
from persona_research.evaluation.plots.matrices import plot_cosines, plot_movements

__all__ = ["plot_blocks", "plot_cosines", "plot_doses", "plot_movements"]

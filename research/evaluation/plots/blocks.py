"""The blocks side by side, as the rule compares them."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from persona_research.evaluation.tables import blocks_text
from persona_research.evaluation.trait_evaluation import TraitEvaluation
from persona_research.figure import COLOURS, save, style


def plot_blocks(trait: TraitEvaluation, path: Path) -> list[Path]:
    """Draws what each set of blocks gains, what that costs, and the range it would have."""
    candidates = trait.choice.candidates
    places = range(len(candidates))
    usual, marked = COLOURS[0], COLOURS[1]
    colours = [marked if each == trait.choice.chosen else usual for each in candidates]
    ranges = [each.range for each in candidates]
    with style():
        width = max(4.5, 2.0 + 0.3 * len(candidates))
        figure = Figure(figsize=(width, 6.0), layout="constrained")
        gain, divergence, span = figure.subplots(3, 1, sharex=True)
        gain.bar(places, [each.gain for each in candidates], color=colours)
        gain.set_ylabel(f"gain\n({trait.scale.unit})")
        divergence.bar(places, [each.divergence for each in candidates], color=colours)
        divergence.set_ylabel("divergence\n(nats per token)")
        heights = [each.high - each.low for each in ranges]
        span.bar(places, heights, bottom=[each.low for each in ranges], color=colours, width=0.4)
        span.axhline(0, color="black", linewidth=0.8)
        span.set_ylabel("range\n(scalar)")
        span.set_xticks(places, [blocks_text(each.blocks) for each in candidates])
        span.set_xlabel("steered blocks")
        chosen = trait.choice.chosen
        verdict = f"block {blocks_text(chosen.blocks)} (orange)" if chosen is not None else "none"
        figure.suptitle(f"{trait.vector.trait_name}: chosen is {verdict}")
        return save(figure, path)

"""Score and coherence over the scalar."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator, ScalarFormatter

from persona_research.evaluation.choice import (
    ChoiceRule,
    in_units,
    repetition_limit,
    surprise_limit,
)
from persona_research.evaluation.doses import Dose, DoseCurve
from persona_research.evaluation.estimates import Estimate
from persona_research.evaluation.tables import blocks_text
from persona_research.evaluation.trait_evaluation import TraitEvaluation
from persona_research.figure import COLOURS, GREY, LIGHT_GREY, MARKERS, save, style

_LIMIT: dict[str, Any] = {"color": "black", "linestyle": "-.", "linewidth": 1}

_MEASURES: dict[str, Callable[[Dose], Estimate]] = {
    "score": lambda dose: dose.score,
    "perplexity": lambda dose: dose.perplexity,
    "divergence": lambda dose: dose.divergence,
    "repetition": lambda dose: dose.repetition,
    "tokens": lambda dose: dose.tokens,
    "ended": lambda dose: Estimate(dose.ended, dose.ended, dose.ended),
}


_PANELS: list[Any] = [
    ["score", "perplexity", "divergence", "legend"],
    ["repetition", "tokens", "ended", "legend"],
]


def plot_doses(trait: TraitEvaluation, rule: ChoiceRule, path: Path) -> list[Path]:
    """Draws a panel for each measure, and in it a line for each set of blocks."""
    with style():
        figure = Figure(figsize=(14, 6.6), layout="constrained")
        axes: dict[str, Axes] = figure.subplot_mosaic(_PANELS)
        for name, measure in _MEASURES.items():
            _draw_curves(axes[name], trait, measure)
            axes[name].set_xlabel("scalar")
        _finish_score(axes["score"], trait)
        _finish_perplexity(axes["perplexity"], trait, rule)
        _finish_others(axes, trait, rule)
        _draw_legend(figure, axes["legend"], axes["score"], trait.curves)
        questions = f"{trait.num_questions} questions"
        figure.suptitle(f"{trait.vector.trait_name}: {questions}, judge: {trait.judge}")
        return save(figure, path)


def _draw_curves(axes: Axes, trait: TraitEvaluation, measure: Callable[[Dose], Estimate]) -> None:
    chosen = trait.chosen_curve
    for place, curve in enumerate(trait.curves):
        is_chosen = curve is chosen
        colour, marker = _look(place, trait.curves, is_chosen)
        found = [measure(dose) for dose in curve.doses]
        label = f"block {blocks_text(curve.blocks)}" + (" (chosen)" if is_chosen else "")
        axes.plot(
            curve.scalars,
            [each.value for each in found],
            color=colour,
            marker=marker,
            markersize=4,
            linewidth=2.2 if is_chosen else 1.0,
            zorder=3 if is_chosen else 2,
            label=label,
        )
        if is_chosen or len(trait.curves) == 1:
            ends = [each.low for each in found], [each.high for each in found]
            axes.fill_between(curve.scalars, *ends, color=colour, alpha=0.25, linewidth=0)
    if trait.choice.chosen is not None:
        span = trait.choice.chosen.range
        axes.axvspan(span.low, span.high, color=LIGHT_GREY, zorder=0)


def _look(place: int, curves: Sequence[DoseCurve], is_chosen: bool) -> tuple[Any, str]:
    """Colour and marker of a curve; many blocks share a scale of colours, and one stands out."""
    if len(curves) <= len(COLOURS):
        return COLOURS[place], MARKERS[place]
    if is_chosen:
        return COLOURS[1], MARKERS[1]
    scale = _block_scale(curves)
    blocks = curves[place].blocks
    return (scale.to_rgba(blocks[0]) if len(blocks) == 1 else GREY), "."  # type: ignore[arg-type]


def _block_scale(curves: Sequence[DoseCurve]) -> ScalarMappable:
    blocks = [block for curve in curves for block in curve.blocks]
    return ScalarMappable(Normalize(min(blocks), max(blocks)), "cividis")


def _finish_score(axes: Axes, trait: TraitEvaluation) -> None:
    scale = trait.scale
    axes.set(title=f"trait {scale.name}", ylabel=f"{scale.name} ({scale.unit})")
    if scale.span is not None:
        axes.set_ylim(-3, 103)
    for dose, line, pole in (
        (trait.asked.trait, "--", "the trait"),
        (trait.asked.opposite, ":", "its opposite"),
    ):
        if dose is not None:
            label = f"unsteered, asked for {pole}"
            axes.axhline(dose.score.value, color=GREY, linestyle=line, linewidth=1, label=label)
    curve = trait.chosen_curve
    if curve is not None:
        share = curve.residual_share

        def to_share(scalars: Any) -> Any:
            return scalars * share

        def to_scalar(shares: Any) -> Any:
            return shares / share

        above = axes.secondary_xaxis("top", functions=(to_share, to_scalar))
        above.set_xlabel(f"share of the residual's norm, block {blocks_text(curve.blocks)}")


def _finish_perplexity(axes: Axes, trait: TraitEvaluation, rule: ChoiceRule) -> None:
    axes.set(title="perplexity for the unsteered model", ylabel="perplexity per token")
    axes.set_yscale("log")
    # A logarithmic axis of less than a decade would have hardly any numbers.
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_locator(NullLocator())
    _draw_limit(axes, trait, rule, surprise_limit)


def _draw_limit(
    axes: Axes,
    trait: TraitEvaluation,
    rule: ChoiceRule,
    limit_of: Callable[[Dose, Dose | None, ChoiceRule], float],
) -> None:
    """Draws a limit that depends on what was asked for, to either side."""
    curve = trait.curves[0]
    for asked, end in (
        (trait.asked.opposite, curve.scalars[0]),
        (trait.asked.trait, curve.scalars[-1]),
    ):
        limit = limit_of(curve.unsteered, asked, rule)
        axes.plot([0, end], [limit, limit], **_LIMIT)


def _finish_others(axes: dict[str, Axes], trait: TraitEvaluation, rule: ChoiceRule) -> None:
    base = trait.curves[0].unsteered
    axes["repetition"].set(title="repetition", ylabel="share of the text that repeats it")
    _draw_limit(axes["repetition"], trait, rule, repetition_limit)
    axes["tokens"].set(title="length", ylabel="tokens")
    axes["tokens"].axhline(base.tokens.value * rule.length, **_LIMIT)
    axes["tokens"].axhline(base.tokens.value / rule.length, **_LIMIT)
    axes["divergence"].set(
        title="divergence from the unsteered model", ylabel="KL divergence (nats per token)"
    )
    budget = in_units(rule, trait.scale, trait.asked).budget
    if budget is not None:
        axes["divergence"].axhline(budget, **_LIMIT)
    for name in ("divergence", "repetition", "tokens"):
        axes[name].set_ylim(bottom=0)
    axes["ended"].set(
        title="ended before the token limit", ylabel="share of the answers", ylim=(-0.03, 1.03)
    )
    axes["ended"].axhline(base.ended - rule.unended, **_LIMIT)


def _draw_legend(figure: Figure, panel: Axes, score: Axes, curves: Sequence[DoseCurve]) -> None:
    panel.axis("off")
    handles, labels = score.get_legend_handles_labels()
    entries = dict(zip(labels, handles, strict=True))
    if len(curves) > len(COLOURS):
        entries = {
            label: handle
            for label, handle in entries.items()
            if "chosen" in label or "asked" in label
        }
        scale = _block_scale(curves)
        figure.colorbar(scale, ax=panel, location="bottom", label="block")
    (entries["limit of the rule"],) = panel.plot([], [], **_LIMIT)
    (entries["recommended range"],) = panel.fill([], [], color=LIGHT_GREY)
    panel.legend(
        list(entries.values()),
        list(entries),
        loc="upper left",
        frameon=False,
        title="band: 95% bootstrap interval over questions",
        alignment="left",
    )

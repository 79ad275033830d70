"""Turns what operations and conditions did into tables and a plot of `docs/steering.md`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from persona_demo.operations import OVER, ConditionSummary, LimitSummary, WaySummary
from persona_research.figure import COLOURS, MARKERS, PNG_DOTS_PER_INCH, style
from persona_research.markdown import markdown_table

Ways = Mapping[str, Mapping[str, WaySummary]]
"""What answers look like, by trait and by how they were asked for."""

_LESS_THAN_BETWEEN_WAYS = 0.6


def measured_section(
    ways: Ways,
    conditions: Mapping[str, ConditionSummary],
    limits: Mapping[str, LimitSummary],
    num_prompts: int,
) -> str:
    """Everything that is measured, in Markdown."""
    titles = list(next(iter(ways.values())))
    shares = [
        [trait, *(f"{each.shows:.2f} / {each.well_formed:.2f}" for each in by_way.values())]
        for trait, by_way in ways.items()
    ]
    neutral = [
        [trait, *map(str, (each.same, each.unmet, each.identical))]
        for trait, each in conditions.items()
    ]
    ended = [
        [trait, str(each.asked_for), str(each.neutral), str(each.tokens)]
        for trait, each in limits.items()
    ]
    header = ["same text, above p90", "no token above p99", "of those, same to the bit"]
    parts = [
        f"### Answers that show the trait / well-formed sentences, {num_prompts} prompts a trait",
        markdown_table(["trait", *titles], shares),
        f"### Without a system prompt, scalar -2 under a condition, answers of {num_prompts}",
        markdown_table(["trait", *header], neutral),
        f"### Answers of {num_prompts} that a limit ends: above p99, {OVER} tokens in a row",
        markdown_table(
            ["trait", "system prompt", "none", "most tokens from the first above p99"], ended
        ),
    ]
    return "\n\n".join(parts)


def plot(ways: Ways, path: Path) -> None:
    """Draws both shares for every way to ask, one marker per trait."""
    titles = list(next(iter(ways.values())))
    step = _LESS_THAN_BETWEEN_WAYS / max(1, len(ways) - 1)
    with style():
        figure = Figure(figsize=(11, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for place, (trait, by_way) in enumerate(ways.items()):
            rows = [row - _LESS_THAN_BETWEEN_WAYS / 2 + place * step for row in range(len(titles))]
            look = {"color": COLOURS[place], "marker": MARKERS[place], "s": 22, "label": trait}
            left.scatter([each.shows for each in by_way.values()], rows, **look)
            right.scatter([each.well_formed for each in by_way.values()], rows, **look)
        left.set(title="Answers that show the trait", xlabel="share of answers")
        left.set_yticks(range(len(titles)), titles)
        left.invert_yaxis()
        right.set(title="Well-formed sentences", xlabel="share of sentences")
        for axes in (left, right):
            axes.set_xlim(-0.03, 1.03)
        right.legend(fontsize=8, loc="lower left")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=PNG_DOTS_PER_INCH)

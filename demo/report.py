"""Turns measurements into the tables and the plot of `docs/steering.md`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, pairwise
from pathlib import Path

from matplotlib.figure import Figure

from persona_demo.evaluation import SCALARS, HeldOutAnswers, HeldOutSummary
from persona_research.evaluation.tables import scalar_text
from persona_research.figure import COLOURS, MARKERS, PNG_DOTS_PER_INCH, style
from persona_research.markdown import markdown_table

GROUP_TITLES: dict[str, str] = {
    "pairs": "question and topic each seen, never together",
    "topics": "topic never seen",
    "templates": "neither question nor topic ever seen",
}

EXAMPLE_INDEX = 3
"""The held-out prompt whose answers are shown; any would do."""

Curves = Mapping[str, Sequence[HeldOutSummary]]
"""The measurements of each trait, one for each of `SCALARS`."""

_SCALAR_NAMES = [scalar_text(scalar) for scalar in SCALARS]
_SHOWN = ["show it at +2", "show it at -2"]


def _scores(curve: Sequence[HeldOutSummary]) -> list[str]:
    """Mean score by scalar, and the shares that show the trait at both ends."""
    return [f"{each.score:+.2f}" for each in curve] + [f"{curve[i].shows:.2f}" for i in (-1, 0)]


def score_table(curves: Curves) -> str:
    """Mean score by trait and scalar, and the shares that the targets are about."""
    rows = [[trait, *_scores(curve), f"{curve[2].plain:.2f}"] for trait, curve in curves.items()]
    return markdown_table(["trait", *_SCALAR_NAMES, *_SHOWN, "plain at 0"], rows)


def form_table(curves: Curves) -> str:
    """Well-formed share and perplexities by trait and scalar."""
    rows = [
        [trait]
        + [f"{each.well_formed:.2f}" for each in curve]
        + [f"{each.dose.perplexity.value:.1f}" for each in curve]
        + [f"{each.styled_perplexity:.1f}" for each in curve]
        for trait, curve in curves.items()
    ]
    measures = ("well-formed", "ppl", "styled ppl")
    header = [f"{measure} {name}" for measure in measures for name in _SCALAR_NAMES]
    return markdown_table(["trait", *header], rows)


def group_table(groups: Mapping[str, Curves]) -> str:
    """Mean score at each scalar for every kind of held-out prompt."""
    rows = [
        [GROUP_TITLES[group], trait, *_scores(curve), f"{min(m.well_formed for m in curve):.2f}"]
        for group, curves in groups.items()
        for trait, curve in curves.items()
    ]
    header = ["held-out prompts", "trait", *_SCALAR_NAMES, *_SHOWN, "lowest well-formed"]
    return markdown_table(header, rows)


def measured_section(
    overall: Curves, groups: Mapping[str, Curves], answers: Mapping[str, HeldOutAnswers]
) -> str:
    """Everything that the evaluation measures, in Markdown."""
    measured = list(chain.from_iterable(overall.values()))
    examples = {
        trait: [group[EXAMPLE_INDEX] for group in by_scalar.values()]
        for trait, by_scalar in answers.items()
    }
    prompt = next(iter(examples.values()))[0].prompt
    texts = [[trait, *(each.measured.text for each in row)] for trait, row in examples.items()]
    parts = [
        f"### Score, over all {measured[0].dose.answers} held-out prompts of each trait",
        score_table(overall),
        "### Score, by how much of the prompt is new",
        group_table(groups),
        "### Form of the text",
        f"At least {min(m.dose.ended for m in measured):.2f} of the answers at every scalar end by "
        "themselves.",
        form_table(overall),
        f'### Answers to "{prompt.text}"',
        markdown_table(["trait", *_SCALAR_NAMES], texts),
    ]
    return "\n\n".join(parts)


def update_page(path: Path, text: str, name: str = "measured") -> None:
    """Replaces what stands between the page's markers of that name."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    page = path.read_text(encoding="utf-8")
    before, rest = page.split(begin)
    after = rest.split(end)[1]
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def is_strictly_rising(curve: Sequence[HeldOutSummary]) -> bool:
    """Whether the mean score rises from every scalar to the next."""
    return all(low.score < high.score for low, high in pairwise(curve))


def plot(curves: Curves, path: Path) -> None:
    """Draws score and well-formed share over the scalar, one line per trait."""
    with style():
        figure = Figure(figsize=(11, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        for (trait, curve), colour, marker in zip(curves.items(), COLOURS, MARKERS, strict=True):
            look = {"color": colour, "marker": marker, "markersize": 4, "label": trait}
            left.plot(SCALARS, [each.score for each in curve], **look)
            right.plot(SCALARS, [each.well_formed for each in curve], **look)
        left.set(title="Trait score of answers to held-out prompts", ylim=(-1.05, 1.05))
        left.set_ylabel("score (-1 opposite, 1 trait)")
        left.legend(fontsize=8)
        right.set(title="Well-formed sentences", ylabel="share of sentences", ylim=(0, 1.03))
        for axes in (left, right):
            axes.set_xlabel("scalar")
            axes.set_xticks(SCALARS)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=PNG_DOTS_PER_INCH)

"""Turns measurements into the tables and the plot of `docs/steering.md`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from matplotlib.figure import Figure

from persona_demo.evaluation import SCALARS, Measurement
from persona_demo.questions import Prompt
from persona_demo.traits import TRAITS
from persona_research.evaluation.plots.figure import COLOURS, MARKERS, style
from persona_research.evaluation.tables import scalar_text
from persona_research.markdown import markdown_table
from persona_research.model import Answer

GROUP_TITLES: dict[str, str] = {
    "pairs": "question and topic each seen, never together",
    "topics": "topic never seen",
    "templates": "neither question nor topic ever seen",
}

EXAMPLE_INDEX = 3
"""The held-out prompt whose answers are shown; any would do."""


def _of(measurements: Sequence[Measurement], trait: str, scalar: float) -> Measurement:
    return next(m for m in measurements if m.trait == trait and m.scalar == scalar)


def _scalar_names() -> list[str]:
    return [scalar_text(scalar) for scalar in SCALARS]


def score_table(measurements: Sequence[Measurement]) -> str:
    """Mean score by trait and scalar, and the shares that the targets are about."""
    rows = []
    for trait in TRAITS:
        cells = [_of(measurements, trait, scalar) for scalar in SCALARS]
        rows.append(
            [trait]
            + [f"{cell.score:+.2f}" for cell in cells]
            + [f"{cells[-1].shows:.2f}", f"{cells[0].shows:.2f}", f"{cells[2].plain:.2f}"]
        )
    header = ["trait", *_scalar_names(), "show it at +2", "show it at -2", "plain at 0"]
    return markdown_table(header, rows)


def form_table(measurements: Sequence[Measurement]) -> str:
    """Well-formed share and perplexities by trait and scalar."""
    rows = []
    for trait in TRAITS:
        cells = [_of(measurements, trait, scalar) for scalar in SCALARS]
        rows.append([trait] + [f"{cell.well_formed:.2f}" for cell in cells])
        rows[-1] += [f"{cell.perplexity:.1f}" for cell in cells]
        rows[-1] += [f"{cell.styled_perplexity:.1f}" for cell in cells]
    names = _scalar_names()
    header = ["trait", *(f"well-formed {n}" for n in names), *(f"ppl {n}" for n in names)]
    return markdown_table([*header, *(f"styled ppl {n}" for n in names)], rows)


def group_table(groups: Mapping[str, Sequence[Measurement]]) -> str:
    """Mean score at each scalar for every kind of held-out prompt."""
    rows = []
    for group, measurements in groups.items():
        for trait in TRAITS:
            cells = [_of(measurements, trait, scalar) for scalar in SCALARS]
            scores = [f"{cell.score:+.2f}" for cell in cells]
            shares = [f"{cells[-1].shows:.2f}", f"{cells[0].shows:.2f}"]
            shares.append(f"{min(cell.well_formed for cell in cells):.2f}")
            rows.append([GROUP_TITLES[group], trait, *scores, *shares])
    header = ["held-out prompts", "trait", *_scalar_names(), "show it at +2", "show it at -2"]
    return markdown_table([*header, "lowest well-formed"], rows)


Answers = Mapping[str, Mapping[float, Sequence[Answer]]]
"""The answers to the held-out prompts, in their order, by trait and scalar."""


def example_table(answers: Answers, index: int) -> str:
    """The answers to one prompt at every scalar, for every trait."""
    rows = [
        [trait, *(by_scalar[scalar][index].text for scalar in SCALARS)]
        for trait, by_scalar in answers.items()
    ]
    return markdown_table(["trait", *_scalar_names()], rows)


def measured_section(
    overall: Sequence[Measurement],
    groups: Mapping[str, Sequence[Measurement]],
    prompts: Sequence[Prompt],
    answers: Answers,
) -> str:
    """Everything that the evaluation measures, in Markdown."""
    lowest = min(m.ended for m in overall)
    parts = [
        f"### Score, over all {overall[0].prompts} held-out prompts of each trait",
        score_table(overall),
        "### Score, by how much of the prompt is new",
        group_table(groups),
        "### Form of the text",
        f"At least {lowest:.2f} of the answers at every scalar end by themselves.",
        form_table(overall),
        f'### Answers to "{prompts[EXAMPLE_INDEX].text}"',
        example_table(answers, EXAMPLE_INDEX),
    ]
    return "\n\n".join(parts)


_BEGIN, _END = "<!-- measured: begin -->", "<!-- measured: end -->"


def update_page(path: Path, text: str) -> None:
    """Replaces what stands between the markers of a page."""
    page = path.read_text(encoding="utf-8")
    before, rest = page.split(_BEGIN)
    after = rest.split(_END)[1]
    path.write_text(f"{before}{_BEGIN}\n{text}\n{_END}{after}", encoding="utf-8")


def is_strictly_rising(measurements: Sequence[Measurement], trait: str) -> bool:
    """Whether the mean score rises from every scalar to the next."""
    scores = [_of(measurements, trait, scalar).score for scalar in SCALARS]
    return all(low < high for low, high in pairwise(scores))


def plot(measurements: Sequence[Measurement], path: Path) -> None:
    """Draws score and well-formed share over the scalar, one line per trait."""
    with style():
        figure = Figure(figsize=(11, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        for trait, colour, marker in zip(TRAITS, COLOURS, MARKERS, strict=True):
            cells = [_of(measurements, trait, scalar) for scalar in SCALARS]
            look = {"color": colour, "marker": marker, "markersize": 4, "label": trait}
            left.plot(SCALARS, [cell.score for cell in cells], **look)
            right.plot(SCALARS, [cell.well_formed for cell in cells], **look)
        left.set(title="Trait score of answers to held-out prompts", ylim=(-1.05, 1.05))
        left.set_ylabel("score (-1 opposite, 1 trait)")
        left.legend(fontsize=8)
        right.set(title="Well-formed sentences", ylabel="share of sentences", ylim=(0, 1.03))
        for axes in (left, right):
            axes.set_xlabel("scalar")
            axes.set_xticks(SCALARS)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)

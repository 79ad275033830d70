"""The report of an extraction: what was done, and what came of it, in Markdown with a plot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median

import numpy as np
from numpy.typing import NDArray

from persona_research.definitions import TraitDefinition
from persona_research.evaluation.cross_trait import cosine_matrix
from persona_research.extraction import SPLIT_HALF, Extraction, JudgedAnswer, counts
from persona_research.judges.judge import Scale
from persona_research.markdown import markdown_table
from triton_models.vectors.calibration_document import calibration_of
from triton_models.vectors.persona_vector import PersonaVector

MATPLOTLIB_MISSING = "no plot: matplotlib is not installed (pip install matplotlib)"

_EXAMPLES = 3
_MAX_CHARACTERS = 600
"""Of an example's answer."""
_NUM_BINS = 10


def write_report(extraction: Extraction, definition: TraitDefinition, path: Path) -> list[Path]:
    """Writes a report (`.md`) and, where matplotlib is installed, its plot; returns both paths."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = path.with_suffix(".png")
    plotted = _plot(extraction, picture)
    image = f"![Scores, norms and cosines]({picture.name})" if plotted else MATPLOTLIB_MISSING
    path.write_text(_text(extraction, definition, image), encoding="utf-8")
    return [path, picture] if plotted else [path]


def block_cosines(vector: PersonaVector) -> NDArray[np.float64]:
    """The cosine of every block's vector with every other's, [blocks, blocks]."""
    return cosine_matrix([vector.blocks[block] for block in sorted(vector.blocks)])


def _text(extraction: Extraction, definition: TraitDefinition, image: str) -> str:
    vector = extraction.vector
    poles = {"positive": extraction.positive, "negative": extraction.negative}
    parts = [
        f"# Extraction of {vector.trait_name} from {vector.model_name}",
        definition.description,
        _settings(vector, definition),
        "## Answers",
        _answer_table(poles),
        _score_table(poles, extraction.scale)
        if extraction.scale
        else "No judge: every answer counts.",
        image,
        "## Blocks",
        _block_table(vector),
        "## Projections",
        _projection_table(vector),
        "## Examples",
        *(
            _examples(f"{name.capitalize()} prompts", answers, extraction.scale)
            for name, answers in poles.items()
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _settings(vector: PersonaVector, definition: TraitDefinition) -> str:
    metadata = vector.metadata
    selected = ", ".join(map(str, vector.selected_blocks))
    rows = {
        "method": metadata["method"],
        "system prompts": f"{len(definition.positive_prompts)} positive, "
        f"{len(definition.negative_prompts)} negative",
        "questions": len(definition.evaluation_questions),
        "longest answer": f"{metadata['max_new_tokens']} tokens",
        "temperature, seed": f"{metadata['temperature']:g}, {metadata['seed']}",
        "judge": metadata["judge"] or "none",
        "dtype": metadata["dtype"],
        "factor on the vectors": f"{metadata['scale']:g}",
        "selected blocks": f"{selected} ({metadata['selected_by']})",
    }
    return markdown_table(["what", "value"], [[name, str(value)] for name, value in rows.items()])


def _answer_table(poles: dict[str, tuple[JudgedAnswer, ...]]) -> str:
    header = ["prompts", "generated", "kept", "dropped", "without a score", "ended", "mean tokens"]
    rows = []
    for name, answers in poles.items():
        numbers = counts(answers)
        ended = sum(each.answer.ended for each in answers) / len(answers)
        tokens = fmean(len(each.answer.response_ids) for each in answers)
        cells = [str(numbers[key]) for key in ("generated", "kept", "dropped", "unparsable")]
        rows.append([name, *cells, f"{ended:.2f}", f"{tokens:.1f}"])
    return markdown_table(header, rows)


def _score_table(poles: dict[str, tuple[JudgedAnswer, ...]], scale: Scale) -> str:
    bins = _bins(poles.values(), scale)
    names = [f"{low:{scale.form}} to {high:{scale.form}}" for low, high in pairwise(bins)]
    rows = []
    for name, answers in poles.items():
        scores = _scores(answers)
        numbers, _ = np.histogram(scores, bins)
        rows.append([name, *map(str, numbers.tolist()), *_summary(scores, scale)])
    return markdown_table([f"{scale.name} ({scale.unit})", *names, "mean", "median"], rows)


def _bins(poles: Iterable[Sequence[JudgedAnswer]], scale: Scale | None) -> list[float]:
    """Ten equal parts of the scale, or of the scores where it has no ends."""
    scores = [score for answers in poles for score in _scores(answers)]
    ends = (0.0, 100.0)
    if scale is not None and scale.span is None and scores:
        ends = min(scores), max(scores)
    return [float(edge) for edge in np.linspace(*ends, _NUM_BINS + 1)]


def _summary(scores: Sequence[float], scale: Scale) -> list[str]:
    digits = "+.3f" if scale.span is None else ".1f"
    return [f"{fmean(scores):{digits}}", f"{median(scores):{digits}}"] if scores else ["", ""]


def _scores(answers: Sequence[JudgedAnswer]) -> list[float]:
    return [each.score for each in answers if each.score is not None]


def _block_table(vector: PersonaVector) -> str:
    cosines = block_cosines(vector)
    residuals = vector.metadata["residual_norms"]
    halves = vector.metadata[SPLIT_HALF] or {}
    rows = []
    for place, (block, norm) in enumerate(vector.norms.items()):
        residual = residuals[str(block)]
        following = f"{cosines[place, place + 1]:+.3f}" if place + 1 < len(cosines) else ""
        chosen = "selected" if block in vector.selected_blocks else ""
        agreed = f"{halves[str(block)]:+.3f}" if halves else ""
        lengths = [f"{norm:.3f}", f"{residual:.3f}", f"{norm / residual:.4f}"]
        cells = [*lengths, agreed, following, chosen]
        rows.append([str(block), *cells])
    header = ["block", "norm", "residual's norm", "ratio", "cosine of the pairs' halves"]
    header += ["cosine with the next block", ""]
    return markdown_table(header, rows)


def _projection_table(vector: PersonaVector) -> str:
    header = ["block", "negative", "neutral", "positive", "1 %", "50 %", "99 % of neutral tokens"]
    rows = []
    for number, block in calibration_of(vector).blocks.items():
        poles = (block.negative, block.neutral, block.positive)
        numbers = [each.answers.mean for each in poles] + [block.bound(p) for p in (1, 50, 99)]
        rows.append([str(number), *(f"{each:.2f}" for each in numbers)])
    return markdown_table(header, rows)


def _examples(title: str, answers: Sequence[JudgedAnswer], scale: Scale | None) -> str:
    kept = [each for each in answers if each.kept]
    dropped = [each for each in answers if not each.kept]
    parts = [f"### {title}", *(_example(each, scale) for each in _spread(kept))]
    if dropped:
        parts += ["Dropped:", *(_example(each, scale) for each in _spread(dropped))]
    return "\n\n".join(parts)


def _spread(answers: Sequence[JudgedAnswer]) -> list[JudgedAnswer]:
    """A few answers from the whole range, so that not all have the same system prompt."""
    count = min(_EXAMPLES, len(answers))
    return [answers[number * len(answers) // count] for number in range(count)]


def _example(each: JudgedAnswer, scale: Scale | None) -> str:
    score = "no score"
    if each.score is not None and scale is not None:
        score = f"{scale.name} {each.score:{scale.form}}"
    text = each.answer.text
    shown = text if len(text) <= _MAX_CHARACTERS else text[:_MAX_CHARACTERS] + " [...]"
    lines = [
        f"system: {each.system_prompt}",
        f"user: {each.question}",
        f"answer ({score}): {shown}",
    ]
    # As code, so that nothing in an answer is taken for Markdown.
    return "\n".join(f"    {line}" for each in lines for line in each.splitlines())


def _plot(extraction: Extraction, path: Path) -> bool:
    """Draws the scores, the norms and the cosines; `False` where there is no matplotlib."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator

        from persona_research.figure import COLOURS, DIVERGING, GREY, PNG_DOTS_PER_INCH, style
    except ImportError:
        return False
    vector = extraction.vector
    blocks = sorted(vector.blocks)
    residuals = [vector.metadata["residual_norms"][str(block)] for block in blocks]
    answers = extraction.positive, extraction.negative
    poles, scale = [_scores(each) for each in answers], extraction.scale
    bins = _bins(answers, scale)
    labels = ["positive prompts", "negative prompts"]
    with style(grid=False):
        figure = Figure(figsize=(13, 3.8), layout="constrained")
        scores, norms, cosines = figure.subplots(1, 3)
        scores.hist(poles, bins=bins, color=COLOURS[:2], label=labels)
        label = f"{scale.name} ({scale.unit})" if scale else "score"
        scores.set(title="Scores of the answers", xlabel=label, ylabel="answers")
        scores.legend(loc="upper center")
        norms.semilogy(blocks, [vector.norms[block] for block in blocks], ".-", label="vector")
        norms.semilogy(blocks, residuals, ".-", label="residual")
        for block in vector.selected_blocks:
            norms.axvline(block, color=GREY, linewidth=1)
        norms.set(title="Norms by block", xlabel="block")
        norms.legend()
        image = cosines.imshow(
            block_cosines(vector), vmin=-1, vmax=1, cmap=DIVERGING, origin="lower"
        )
        cosines.set(title="Cosines between blocks", xlabel="block")
        figure.colorbar(image, ax=cosines)
        for axis in (norms.xaxis, cosines.xaxis, cosines.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True))
        figure.savefig(path, dpi=PNG_DOTS_PER_INCH)
    return True

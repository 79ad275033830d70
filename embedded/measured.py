"""What steering does to the embedded model, as tables and pages: from an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from random import Random
from statistics import fmean

from persona_research.evaluation.conditions import steered
from persona_research.evaluation.doses import Dose, MeasuredAnswer, by_question
from persona_research.evaluation.estimates import mean
from persona_research.evaluation.evaluation import Evaluation
from persona_research.evaluation.tables import interval_text, scalar_text
from persona_research.evaluation.trait_evaluation import TraitEvaluation
from persona_research.markdown import markdown_table

Similarity = Mapping[tuple[str, str], float]
"""Of a question and an answer."""

_SHOWN = 3
"""Questions of a trait whose answers are shown."""


def contrast_table(evaluation: Evaluation) -> str:
    """Contrast by scalar, beside that of answers that were asked for either pole."""
    scalars = evaluation.traits[0].curves[0].scalars
    names = [*map(scalar_text, scalars), "asked for its opposite", "asked for it"]
    header = ["trait", *names, "rises throughout", "+1 does of asking"]
    return markdown_table(header, [_contrasts(trait) for trait in evaluation.traits])


def text_table(evaluation: Evaluation, similarity: Similarity) -> str:
    """What becomes of the text: against answers that were asked for, and on topic or not."""
    rows = []
    for trait in evaluation.traits:
        curve = trait.curves[0]
        for dose in curve.doses:
            asked = trait.asked.trait if dose.scalar > 0 else trait.asked.opposite
            if dose is not curve.unsteered and asked is not None:
                rows.append(_text_row(trait, dose, asked, similarity))
    header = ["trait", "scalar", "perplexity / asked", "repetition - asked"]
    return markdown_table([*header, "ended", "similarity - unsteered"], rows)


def answers_page(evaluation: Evaluation, seed: int = 0) -> str:
    """A few questions of each trait, drawn by a seed, with their first answers as they are."""
    parts = []
    for trait in evaluation.traits:
        parts.append(f"## {trait.vector.trait_name}")
        curve = trait.curves[0]
        answers = {scalar: _at(trait, scalar) for scalar in curve.scalars}
        questions = list(answers[0.0])
        for place in sorted(Random(seed).sample(range(len(questions)), _SHOWN)):
            question = questions[place]
            lines = [f"**{question}**", ""]
            lines += [
                f"- *{scalar_text(scalar)}*: {' '.join(groups[question][0].text.split())}"
                for scalar, groups in answers.items()
            ]
            parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _at(trait: TraitEvaluation, scalar: float) -> dict[str, list[MeasuredAnswer]]:
    """The answers to each question at a scalar."""
    blocks = trait.curves[0].blocks
    return by_question(trait.answers[steered(blocks, scalar)])


def _contrasts(trait: TraitEvaluation) -> list[str]:
    doses = trait.curves[0].doses
    asked = [dose for dose in (trait.asked.opposite, trait.asked.trait) if dose is not None]
    rises = all(low.score.value < high.score.value for low, high in pairwise(doses))
    base = trait.curves[0].unsteered.score.value
    gain, asking = (each.score.value - base for each in (trait.curves[0].at(1.0), asked[-1]))
    share = f"{gain / asking:.2f}" if asking > 0 else "asking does nothing"
    scores = [interval_text(dose.score, "+.3f") for dose in (*doses, *asked)]
    return [trait.vector.trait_name, *scores, "yes" if rises else "no", share]


def _text_row(trait: TraitEvaluation, dose: Dose, asked: Dose, similarity: Similarity) -> list[str]:
    moved, plain = _at(trait, dose.scalar), _at(trait, 0.0)
    changes = [
        _on_topic(moved[question], similarity) - _on_topic(plain[question], similarity)
        for question in plain
        if similarity
    ]
    return [
        trait.vector.trait_name,
        scalar_text(dose.scalar),
        f"{dose.perplexity.value / asked.perplexity.value:.2f}",
        f"{dose.repetition.value - asked.repetition.value:+.2f}",
        f"{dose.ended:.2f}",
        interval_text(mean(changes), "+.2f") if changes else "not measured",
    ]


def _on_topic(answers: Sequence[MeasuredAnswer], similarity: Similarity) -> float:
    """How alike a question and its answers are."""
    return fmean(similarity[answer.question, answer.text] for answer in answers)

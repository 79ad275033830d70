"""The report that a person reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random

from persona_research.evaluation.conditions import UNSTEERED, steered
from persona_research.evaluation.cross_trait import Movement
from persona_research.evaluation.doses import Dose, DoseCurve, by_question
from persona_research.evaluation.evaluation import Evaluation
from persona_research.evaluation.tables import blocks_text, interval_text, scalar_text
from persona_research.evaluation.trait_evaluation import TraitEvaluation
from persona_research.judges.judge import CONTRAST, POINTS, Scale
from persona_research.markdown import markdown_table
from triton_models.vectors.unit_scale import UnitScale

Images = Mapping[str, str]
"""A plot's name to where it is: `doses_TRAIT`, `blocks_TRAIT`, `movements`, `cosines`."""


def markdown_report(evaluation: Evaluation, images: Images) -> str:
    """The report, in Markdown."""
    parts = [
        f"# Evaluation of vectors of {evaluation.model.name}",
        _setup(evaluation),
        "## Summary",
        summary_table(evaluation),
        f"{_SCALES[evaluation.scale]} {_NOTES}",
    ]
    for trait in evaluation.traits:
        parts += _trait_part(trait, images, evaluation.settings.sampling.seed)
    if evaluation.movements:
        parts += ["## What else each trait moves", _movement_notes(evaluation.scale)]
        parts += _image(images, "movements", "Change of every trait's score")
        parts.append(movement_table(evaluation.movements, evaluation.scale))
    if evaluation.cosines:
        parts.append("## How alike the vectors are")
        parts += _image(images, "cosines", "Cosines between the vectors")
    return "\n\n".join(parts) + "\n"


def summary_table(evaluation: Evaluation) -> str:
    """What was chosen for each trait, and what it does."""
    rows = [_summary(trait) for trait in evaluation.traits]
    score = f"{evaluation.scale.name} at low"
    header = ["trait", "blocks", "range", "share of residual", score, "at 0", "at high"]
    return markdown_table([*header, "perplexity at low", "at 0", "at high", "Spearman"], rows)


def movement_table(movements: Sequence[Movement], scale: Scale) -> str:
    """The matrix of changes: rows are steered, columns judged."""
    judged = list(dict.fromkeys(each.judged for each in movements))
    cells = {(each.steered, each.scalar, each.judged): each for each in movements}
    rows = [
        [f"{steered} {scalar_text(scalar)}"]
        + [
            interval_text(cells[steered, scalar, trait].change, f"+{scale.form}")
            for trait in judged
        ]
        for steered, scalar in dict.fromkeys((each.steered, each.scalar) for each in movements)
    ]
    return markdown_table(["steered", *judged], rows)


_EXAMPLES = 3
"""How many questions' answers to show."""

_SCALES = {
    POINTS: "*score*: 0 is the trait's opposite, 50 neither, 100 the trait.",
    CONTRAST: (
        "*contrast*, in nats per token: how much likelier the trait's judge prompts make an answer "
        "than its opposite's, under the unsteered model; to be compared with the answers that "
        "system prompts ask for, not with another model's."
    ),
}

_NOTES = """\
*share of residual*: what the ends of
the range add, as a share of the norm of the residual stream there; the number to compare vectors
and models by, since scalars depend on a vector's norm. *perplexity*: of the answers, for the
unsteered model asked the same question; a style that nobody asked for is surprising even when it is
written perfectly. *divergence*: how far what answered is from the unsteered model asked the same
question, in nats of KL divergence per token. *Spearman*: rank correlation of scalar and score over
the whole grid. *random vector*: a random direction as long as the vector, at the same blocks: what
it does is not the vector's doing."""


def _movement_notes(scale: Scale) -> str:
    return (
        "Every row's answers are those to that trait's own questions, at an end of its range; a "
        f"cell is the mean change of the judged trait's {scale.name} from the unsteered answers, "
        f"in {scale.unit}, with its 95% bootstrap interval."
    )


def _setup(evaluation: Evaluation) -> str:
    sampling = evaluation.settings.sampling
    how = "greedy" if not sampling.temperature else f"temperature {sampling.temperature:g}"
    asked = max(trait.num_questions for trait in evaluation.traits)
    samples = f"{sampling.samples} answers" if sampling.samples > 1 else "one answer"
    unscored = sum(
        answer.score is None
        for trait in evaluation.traits
        for group in trait.answers.values()
        for answer in group
    )
    text = (
        f"Judge: {evaluation.judge}. {asked} questions for each trait, {samples} to each under "
        f"each condition, {how}, at most {sampling.max_new_tokens} tokens, seed {sampling.seed}."
    )
    return text + (f" {unscored} answers have no score and are left out of it." if unscored else "")


def _summary(trait: TraitEvaluation) -> list[str]:
    chosen, curve = trait.choice.chosen, trait.chosen_curve
    name = trait.vector.trait_name
    if chosen is None or curve is None:
        return [name, "none turns it", *("" for _ in range(9))]
    ends = chosen.range.low, 0.0, chosen.range.high
    doses = [curve.at(scalar) for scalar in ends]
    shares = [scalar * curve.residual_share for scalar in (ends[0], ends[2])]
    return [
        name,
        blocks_text(chosen.blocks),
        _range(*(scalar_text(scalar) for scalar in (ends[0], ends[2]))),
        _range(*(f"{share:+.2f}" if share else "0" for share in shares)),
        *(f"{dose.score.value:{trait.scale.form}}" for dose in doses),
        *(f"{dose.perplexity.value:.2f}" for dose in doses),
        f"{chosen.spearman:.2f}",
    ]


def _trait_part(trait: TraitEvaluation, images: Images, seed: int) -> list[str]:
    name = trait.vector.trait_name
    parts = [f"## {name}", _verdict(trait)]
    parts += _image(images, f"doses_{name}", f"{name}: score and coherence over the scalar")
    curve = trait.chosen_curve or trait.curves[0]
    parts += [f"Doses at block {blocks_text(curve.blocks)}:", _dose_table(curve, trait)]
    if len(trait.curves) > 1:
        parts += _image(images, f"blocks_{name}", f"{name}: the blocks side by side")
        parts.append(_candidate_table(trait))
    parts += [f"Answers as they are, to questions drawn with seed {seed}:"]
    parts.append(_examples(trait, curve, seed))
    return parts


def _verdict(trait: TraitEvaluation) -> str:
    chosen = trait.choice.chosen
    if chosen is None:
        return "No block turns this trait within the rule's limits."
    found = chosen.range
    verdict = (
        f"Steer block {blocks_text(chosen.blocks)}, from {scalar_text(found.low)} "
        f"({found.why_low}) to {scalar_text(found.high)} ({found.why_high})."
    )
    if trait.unit_scale is None:
        return verdict
    doses = unit_scale_text(trait.unit_scale)
    return f"{verdict} {doses[0].upper()}{doses[1:]}."


def unit_scale_text(scale: UnitScale) -> str:
    """Says which scalars do as much as asking."""
    words = [
        f"{scalar_text(sign * found.scalar)} does {found.share:.0%} of what asking for {pole} does"
        f"{_at(found.divergence)}"
        if found is not None
        else f"no scalar does what asking for {pole} does"
        for pole, sign, found in (
            ("the trait", 1, scale.positive),
            ("its opposite", -1, scale.negative),
        )
    ]
    return f"{words[0]}; {words[1]}"


def _at(divergence: float | None) -> str:
    return "" if divergence is None else f", at {divergence:.2f} nats per token"


def _dose_table(curve: DoseCurve, trait: TraitEvaluation) -> str:
    columns: dict[str, Callable[[Dose], str]] = {
        "share of residual": lambda dose: f"{abs(dose.scalar) * curve.residual_share:.2f}",
        trait.scale.name: lambda dose: interval_text(dose.score, trait.scale.form),
        "perplexity": lambda dose: interval_text(dose.perplexity, ".2f"),
        "divergence": lambda dose: interval_text(dose.divergence, ".2f"),
        "repetition": lambda dose: f"{dose.repetition.value:.2f}",
        "tokens": lambda dose: f"{dose.tokens.value:.0f}",
        "ended": lambda dose: f"{dose.ended:.2f}",
    }
    asked = trait.asked
    named = [
        *((scalar_text(dose.scalar), dose) for dose in curve.doses),
        *(
            (f"0, asked for {pole}", dose)
            for pole, dose in (("the trait", asked.trait), ("its opposite", asked.opposite))
            if dose is not None
        ),
        *((f"{scalar_text(dose.scalar)}, random vector", dose) for dose in trait.control),
    ]
    rows = [[name, *(cell(dose) for cell in columns.values())] for name, dose in named]
    return markdown_table(["scalar", *columns], rows)


def _candidate_table(trait: TraitEvaluation) -> str:
    rows = [
        [
            blocks_text(each.blocks) + (" (chosen)" if each == trait.choice.chosen else ""),
            _range(scalar_text(each.range.low), scalar_text(each.range.high)),
            f"{each.gain:{trait.scale.form}}",
            f"{each.divergence:.2f}",
            f"{each.gain_per_nat:{trait.scale.form}}",
            f"{each.spearman:.2f}",
            each.range.why_low,
            each.range.why_high,
        ]
        for each in trait.choice.candidates
    ]
    header = ["blocks", "range", "gain", "divergence", "gain per nat", "Spearman"]
    return markdown_table([*header, "why not lower", "why not higher"], rows)


def _examples(trait: TraitEvaluation, curve: DoseCurve, seed: int) -> str:
    """A few questions' answers at every scalar, whatever they are like."""
    questions = list(by_question(trait.answers[UNSTEERED]))
    chosen = Random(seed).sample(questions, min(_EXAMPLES, len(questions)))
    rows = []
    for scalar in curve.scalars:
        answers = by_question(trait.answers[steered(curve.blocks, scalar)])
        rows.append([scalar_text(scalar), *(answers[question][0].text for question in chosen)])
    return markdown_table(["scalar", *chosen], rows)


def _image(images: Images, name: str, caption: str) -> list[str]:
    return [f"![{caption}]({images[name]})"] if name in images else []


def _range(low: str, high: str) -> str:
    return f"{low} to {high}"

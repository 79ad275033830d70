"""A whole evaluation, from options to files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from persona_research.commands.options import DEFAULT_PROMPTS, DEFAULT_VECTORS, ModelOptions
from persona_research.commands.vector_files import check_keeps_metadata
from persona_research.definitions import find_definition, read_trait_definition
from persona_research.evaluation.evaluation import Evaluation, Subject, evaluate
from persona_research.evaluation.metadata import with_choice
from persona_research.evaluation.output import write_evaluation
from persona_research.evaluation.report import unit_scale_text
from persona_research.evaluation.tables import blocks_text, scalar_text
from persona_research.evaluation.trait_evaluation import (
    EvaluationError,
    EvaluationSettings,
    TraitEvaluation,
    blocks_to_try,
)
from persona_research.held_out import with_held_out_questions
from persona_research.judges.choice import JudgeChoice, definition_for, make_judge
from persona_research.model import ResearchModel
from persona_research.progress import AnswerStore
from triton_models.vectors.formats import find_vector, read_vector, write_vector

DEFAULT_RUNS = Path("runs/evaluation")

ANSWERS = "answers.jsonl"
"""The file in the output folder that a later run takes up."""


@dataclass(frozen=True)
class EvaluationRun:
    """What to evaluate.

    Attributes:
        vectors: Vector files, or names of traits whose vectors are in `folder`.
        folder: Where vectors are looked for by the trait's name.
        output: The folder for the report, and for answers that a later run takes up; `None` is one
            of the model's name in `DEFAULT_RUNS`.
        held_out: Questions to ask in place of the definitions' own: a file, or a folder with one
            for each trait.
        write: Whether to put what was chosen into the vector files.
        cross: Whether to score every trait's answers for all the others, too.
    """

    vectors: Sequence[str]
    folder: Path = DEFAULT_VECTORS
    prompts: Path = DEFAULT_PROMPTS
    output: Path | None = None
    model: ModelOptions = field(default_factory=ModelOptions)
    judge: JudgeChoice = field(default_factory=JudgeChoice)
    settings: EvaluationSettings = field(default_factory=EvaluationSettings)
    held_out: Path | None = None
    write: bool = False
    cross: bool = False


def run_evaluation(
    run: EvaluationRun, say: Callable[[str], None], opened: ResearchModel | None = None
) -> Evaluation:
    """Evaluates, writes the report, and, if so wished, the vector files.

    Args:
        run: What to evaluate.
        say: Takes lines about what was found.
        opened: The run's model, if it is open already; it stays open.

    Raises:
        Exception: One of `errors.USER_ERRORS`, which says in a line what is wrong.
    """
    paths = [find_vector(each, run.folder) for each in run.vectors]
    subjects = [_subject(path, run) for path in paths]
    _check(run, paths, subjects)
    with run.model.open() if opened is None else nullcontext(opened) as model:
        judge = make_judge(run.judge, model, say=say)
        output = run.output or DEFAULT_RUNS / model.name.replace("/", "--")
        with AnswerStore(output / ANSWERS) as store:
            found = evaluate(
                model,
                judge,
                subjects,
                run.settings,
                store,
                run.cross,
            )
    report = write_evaluation(found, output)
    for path, trait in zip(paths, found.traits, strict=True):
        say(verdict(trait))
        if run.write and trait.choice.chosen is not None:
            write_vector(with_choice(trait, found.model, run.settings), path)
            say(f"  written to {path}")
    say(f"report: {report}")
    return found


def _subject(path: Path, run: EvaluationRun) -> Subject:
    vector = read_vector(path)
    definition = read_trait_definition(find_definition(run.prompts, vector.trait_name))
    if run.held_out is not None:
        definition = with_held_out_questions(definition, run.held_out)
    return Subject(vector, definition_for(run.judge, definition))


def _check(run: EvaluationRun, paths: Sequence[Path], subjects: Sequence[Subject]) -> None:
    """Refuses what could only fail after hours of generating."""
    traits = [each.vector.trait_name for each in subjects]
    if twice := {trait for trait in traits if traits.count(trait) > 1}:
        raise EvaluationError(f"there are several vectors of {', '.join(sorted(twice))}: give one")
    for path, subject in zip(paths, subjects, strict=True):
        blocks_to_try(subject.vector, run.settings.blocks)
        if run.write:
            check_keeps_metadata(path, ", or leave out --write")


def verdict(trait: TraitEvaluation) -> str:
    """What was chosen for a trait, and how far it turns it, in a line."""
    chosen, curve = trait.choice.chosen, trait.chosen_curve
    if chosen is None or curve is None:
        return f"{trait.vector.trait_name}: no block turns it within the rule's limits"
    low, high = chosen.range.low, chosen.range.high
    scale = trait.scale
    ends = (low, 0.0, high)
    scores = " / ".join(f"{curve.at(scalar).score.value:{scale.form}}" for scalar in ends)
    doses = f"; {unit_scale_text(trait.unit_scale)}" if trait.unit_scale is not None else ""
    return (
        f"{trait.vector.trait_name}: block {blocks_text(chosen.blocks)}, "
        f"{scalar_text(low)} to {scalar_text(high)}, {scale.name} {scores} at low / 0 / high{doses}"
    )

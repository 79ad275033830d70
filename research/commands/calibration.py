"""A whole calibration, from options to the vector's file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from persona_research.calibration import calibrate, with_calibration
from persona_research.commands.extraction import DEFAULT_RUNS
from persona_research.commands.options import DEFAULT_PROMPTS, DEFAULT_VECTORS, ModelOptions
from persona_research.commands.vector_files import check_keeps_metadata
from persona_research.definitions import (
    TraitDefinition,
    TraitDefinitionError,
    find_definition,
    read_trait_definition,
    with_judge_prompts,
)
from persona_research.evaluation.conditions import EvaluationSampling
from persona_research.evaluation.metadata import with_unit_scale
from persona_research.evaluation.report import unit_scale_text
from persona_research.evaluation.trait_evaluation import EvaluationSettings, evaluate_trait
from persona_research.judges.contrast import ContrastJudge
from persona_research.judges.judge import JudgeError
from persona_research.model import ResearchModel
from persona_research.progress import AnswerStore
from persona_research.turns import AnswerSettings
from triton_models.vectors.calibration import Calibration
from triton_models.vectors.formats import find_vector, read_vector, write_vector
from triton_models.vectors.persona_vector import PersonaVector


@dataclass(frozen=True)
class CalibrationRun:
    """What to calibrate.

    Attributes:
        vectors: Vector files, or names of traits whose vectors are in `folder`.
        folder: Where vectors are looked for by the trait's name.
        prompts: Where definitions are looked for by the trait's name.
        definition: The definition's file for all vectors; `None` is each trait's own.
        runs: The folder of an extraction's answers, which are not generated again.
        doses: Whether to find the scalars that do as much as asking in the system prompt.
    """

    vectors: Sequence[str]
    folder: Path = DEFAULT_VECTORS
    prompts: Path = DEFAULT_PROMPTS
    definition: Path | None = None
    runs: Path = DEFAULT_RUNS
    model: ModelOptions = field(default_factory=ModelOptions)
    settings: AnswerSettings = field(default_factory=AnswerSettings)
    doses: bool = True


def run_calibration(run: CalibrationRun, say: Callable[[str], None]) -> None:
    """Calibrates vectors and puts what was found into their files.

    Raises:
        Exception: One of `errors.USER_ERRORS`, which says in a line what is wrong.
    """
    paths = [find_vector(each, run.folder) for each in run.vectors]
    for path in paths:
        check_keeps_metadata(path)
    vectors = [read_vector(path) for path in paths]
    definitions = [_definition(run, vector) for vector in vectors]
    with run.model.open() as model:
        folder = run.runs / model.name.replace("/", "--")
        for path, vector, definition in zip(paths, vectors, definitions, strict=True):
            with AnswerStore(folder / f"{definition.trait_name}.jsonl") as store:
                found = calibrate(model, vector, definition, run.settings, store)
                calibrated = with_calibration(vector, found)
                lines = list(_lines(found, vector, path))
                if run.doses:
                    calibrated, line = _with_doses(model, calibrated, definition, run, store)
                    lines.append(f"  {line}")
            write_vector(calibrated, path)
            for line in lines:
                say(line)


def _with_doses(
    model: ResearchModel,
    vector: PersonaVector,
    definition: TraitDefinition,
    run: CalibrationRun,
    store: AnswerStore,
) -> tuple[PersonaVector, str]:
    """Returns the vector with its doses, and a line about them, or about why there are none."""
    sampling = EvaluationSampling(run.settings.max_new_tokens, seed=run.settings.seed)
    settings = EvaluationSettings(blocks="selected", sampling=sampling)
    try:
        judged = with_judge_prompts(definition)
        found = evaluate_trait(model, ContrastJudge(model), vector, judged, settings, store)
    except (JudgeError, TraitDefinitionError) as error:
        return vector, f"no doses: {error}"
    scaled = with_unit_scale(vector, found, model.described)
    return scaled, unit_scale_text(found.unit_scale) if found.unit_scale is not None else ""


def _definition(run: CalibrationRun, vector: PersonaVector) -> TraitDefinition:
    path = run.definition or find_definition(run.prompts, vector.trait_name)
    return read_trait_definition(path)


def _lines(found: Calibration, vector: PersonaVector, path: Path) -> Iterator[str]:
    yield (
        f"{found.trait}: calibrated with {found.num_answers} answers of {found.num_tokens} tokens, "
        f"written to {path}"
    )
    for number in vector.selected_blocks:
        block = found.blocks.get(number)
        if block is None:
            yield f"  block {number}: the vector is zero"
            continue
        negative, neutral, positive = (
            each.answers.mean for each in (block.negative, block.neutral, block.positive)
        )
        reversed_poles = "" if positive > negative else ": the poles are the wrong way round"
        yield (
            f"  block {number}: mean projection {negative:.2f} / {neutral:.2f} / {positive:.2f} "
            f"under negative / no / positive prompts{reversed_poles}"
        )

"""A whole extraction, from options to files: the vector, and the report of how it was made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from persona_research.commands.options import DEFAULT_PROMPTS, DEFAULT_VECTORS, ModelOptions
from persona_research.definitions import (
    TraitDefinition,
    definition_files,
    find_definition,
    read_trait_definition,
)
from persona_research.extraction import (
    SPLIT_HALF,
    ExtractionError,
    ExtractionSettings,
    extract,
)
from persona_research.judges.choice import JudgeChoice, definition_for, make_judge
from persona_research.progress import AnswerStore
from persona_research.report import write_report
from triton_models.vectors.formats import write_vector
from triton_models.vectors.persona_vector import PersonaVector, check_trait_name

DEFAULT_RUNS = Path("runs/extraction")


LEAST_COSINE = 0.5
"""Below it the halves of an extraction's pairs do not agree on the vector."""

DISAGREE = "WARNING: they do not agree on it, so that it is hardly more than chance"


@dataclass(frozen=True)
class ExtractionRun:
    """What to extract.

    Attributes:
        traits: Names of traits defined in `prompts`, or files; empty takes every definition there.
        runs: The folder for reports, and for answers that a later run takes up.
        judge: The judge; `None` takes every answer.
    """

    traits: Sequence[str] = ()
    prompts: Path = DEFAULT_PROMPTS
    output: Path = DEFAULT_VECTORS
    runs: Path = DEFAULT_RUNS
    model: ModelOptions = field(default_factory=ModelOptions)
    judge: JudgeChoice | None = field(default_factory=JudgeChoice)
    settings: ExtractionSettings = field(default_factory=ExtractionSettings)
    overwrite: bool = False


def run_extraction(run: ExtractionRun, say: Callable[[str], None]) -> None:
    """Extracts, and writes vectors and reports; everything that can be wrong is checked first.

    Raises:
        Exception: One of `errors.USER_ERRORS`, which says in a line what is wrong.
    """
    definitions = [
        definition_for(run.judge, each) for each in load_definitions(run.traits, run.prompts)
    ]
    names = [check_trait_name(definition.trait_name) for definition in definitions]
    targets = [run.output / f"{name}.json" for name in names]
    there = [target for target in targets if target.exists()]
    if there and not run.overwrite:
        raise ExtractionError(
            f"{there[0]} is there already: give --force to replace it, or another --output"
        )
    with run.model.open() as model:
        judge = make_judge(run.judge, model, say=say) if run.judge is not None else None
        folder = run.runs / model.name.replace("/", "--")
        for definition, target in zip(definitions, targets, strict=True):
            trait = definition.trait_name
            with AnswerStore(folder / f"{trait}.jsonl") as store:
                found = extract(model, definition, run.settings, judge, store)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_vector(found.vector, target)
            report, *_ = write_report(found, definition, folder / f"{trait}.md")
            say(f"{trait}: {agreement(found.vector)}; wrote {target}, report in {report}")


def agreement(vector: PersonaVector) -> str:
    """How many pairs of answers an extracted vector is of, and whether they agree on it."""
    pairs = vector.metadata["pairs"]
    kept = f"kept {pairs['kept']} of {pairs['all']} pairs"
    cosines = vector.metadata[SPLIT_HALF]
    if cosines is None:
        return kept
    block = min(vector.selected_blocks, key=lambda block: cosines[str(block)])
    cosine = cosines[str(block)]
    halves = f"their halves' vectors have the cosine {cosine:.2f} at block {block}"
    return f"{kept}, {halves}{'' if cosine >= LEAST_COSINE else f': {DISAGREE}'}"


def load_definitions(traits: Sequence[str], folder: Path) -> list[TraitDefinition]:
    """Reads the definitions of traits that are named, or of files, or all of a folder.

    Raises:
        TraitDefinitionError: One is missing or cannot be used.
    """
    if not traits:
        return [read_trait_definition(path) for path in definition_files(folder)]
    paths = [
        Path(trait) if trait.endswith(".json") else find_definition(folder, trait)
        for trait in traits
    ]
    return [read_trait_definition(path) for path in paths]

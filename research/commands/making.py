"""Vectors of several traits, made from their definitions: from options to files and a report."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from persona_research.answering import check_judge
from persona_research.calibration import CalibrationError
from persona_research.commands.evaluation import verdict
from persona_research.commands.extraction import agreement, load_definitions
from persona_research.commands.options import DEFAULT_PROMPTS, ModelOptions
from persona_research.definitions import TraitDefinition, with_one_judge_pair
from persona_research.evaluation.evaluation import Evaluation, Subject, evaluation_of
from persona_research.evaluation.metadata import with_choice
from persona_research.evaluation.output import REPORT, write_evaluation
from persona_research.evaluation.trait_evaluation import EvaluationError, TraitEvaluation
from persona_research.extraction import ExtractionError, extract
from persona_research.judges import Judge
from persona_research.judges.choice import JudgeChoice, definition_for, make_judge
from persona_research.making import (
    MakeSettings,
    MakingError,
    Measured,
    make_settings,
    measure,
    workload,
)
from persona_research.model import ResearchModel
from persona_research.progress import AnswerStore, digest
from persona_research.report import write_report
from persona_research.workload import Workload, duration_text, measure_speed
from triton_models.settings import DATA_ROOT
from triton_models.vectors.formats import read_vector, write_vector
from triton_models.vectors.persona_vector import PersonaVector, check_trait_name

DEFAULT_RUNS = Path("runs/make")

ANSWERS = "answers.jsonl"
"""The file in a model's folder that a later run takes up."""

MADE_WITH = "made_with"
"""What in a vector's metadata names all that it was made with."""


class RunningServer(Protocol):
    """Where finished vectors are to be loaded."""

    @property
    def model(self) -> str:
        """The name of the model that it serves."""

    def load(self, trait: str, file: Path) -> None:
        """Makes a vector file a trait's; returns once the server steers by it."""


_Failure = (ExtractionError, CalibrationError, EvaluationError)
"""What is wrong with one trait, and not with the others."""


@dataclass(frozen=True)
class MakingRun:
    """What to make.

    Attributes:
        traits: Names of traits defined in `prompts`, or files; empty takes every definition there.
        output: The folder for the vectors; `None` is one of the model's name in the data folder.
        runs: The folder for reports, and for what a later run takes up.
        overwrite: Whether to replace vectors that were made otherwise.
    """

    traits: Sequence[str] = ()
    prompts: Path = DEFAULT_PROMPTS
    output: Path | None = None
    runs: Path = DEFAULT_RUNS
    model: ModelOptions = field(default_factory=ModelOptions)
    judge: JudgeChoice = field(default_factory=JudgeChoice)
    settings: MakeSettings = field(default_factory=make_settings)
    overwrite: bool = False


@dataclass(frozen=True)
class _Task:
    """A trait, and where its vector is to be.

    Attributes:
        key: Names all that the vector depends on.
        extracted: The file of the vector before it is measured, for a later run.
    """

    definition: TraitDefinition
    key: str
    target: Path
    extracted: Path

    @property
    def trait(self) -> str:
        """The trait's name."""
        return self.definition.trait_name

    @property
    def finished(self) -> bool:
        """Whether the vector is there, made with all of the same."""
        return self.target.exists() and _made_with(self.target) == self.key


def run_making(
    run: MakingRun, say: Callable[[str], None], server: RunningServer | None = None
) -> Path:
    """Makes the vectors that are not finished yet, and a report of all; returns its path.

    What was stopped goes on where it was, and a trait that cannot be made does not keep the others
    from being made.

    Raises:
        MakingError: The server has another model; a vector that was made otherwise would be
            replaced; or some traits could not be made, after all others were.
        Exception: One of `errors.USER_ERRORS`, which says in a line what is wrong.
    """
    definitions = [
        definition_for(run.judge, each) for each in load_definitions(run.traits, run.prompts)
    ]
    with run.model.open() as model:
        if server is not None and server.model != model.name:
            raise MakingError(
                f"the server serves {server.model}, and {model.name} is to have vectors: give the "
                "address of a server of that model, or leave --url out"
            )
        judge = make_judge(run.judge, model, say=say)
        for each in definitions:
            check_judge(judge, each)
        folder = run.runs / model.name.replace("/", "--")
        tasks = _tasks(run, definitions, model, judge, folder)
        waiting = [task for task in tasks if not task.finished]
        for task in tasks:
            if task not in waiting:
                say(f"{task.trait}: finished already, in {task.target}")
        with AnswerStore(folder / ANSWERS) as store:
            if waiting:
                say(_announcement(run, model, judge, waiting, store))
            making = _Making(model, judge, run.settings, store, folder, say)
            measured, failures = making.all(waiting)
            made = [task for task in tasks if task.finished]
            if made and (measured or not (folder / REPORT).exists()):
                report = write_evaluation(making.evaluation(made, measured), folder)
                say(f"report: {report}")
    if server is not None:
        for task in made:
            server.load(task.trait, task.target)
            say(f"{task.trait}: loaded by the server")
    if failures:
        raise MakingError("; ".join(failures))
    return folder / REPORT


@dataclass(frozen=True)
class _Making:
    """What every trait is made with."""

    model: ResearchModel
    judge: Judge
    settings: MakeSettings
    store: AnswerStore
    folder: Path
    say: Callable[[str], None]

    def all(self, tasks: Sequence[_Task]) -> tuple[dict[str, TraitEvaluation], list[str]]:
        """Makes vectors; returns their evaluations, and why others could not be made."""
        evaluations: dict[str, TraitEvaluation] = {}
        failures = []
        for task in tasks:
            try:
                evaluations[task.trait] = self._make(task).chosen
            except _Failure as error:
                self.say(str(error))
                failures.append(str(error))
        return evaluations, failures

    def evaluation(
        self, tasks: Sequence[_Task], measured: dict[str, TraitEvaluation]
    ) -> Evaluation:
        """Puts the evaluations together; those of an earlier run are computed from its answers."""
        subjects = [Subject(read_vector(task.target), task.definition) for task in tasks]
        traits = [
            measured.get(task.trait) or self._measure(subject.vector, task).chosen
            for task, subject in zip(tasks, subjects, strict=True)
        ]
        return evaluation_of(
            self.model.described,
            self.judge,
            subjects,
            traits,
            self.settings.evaluation,
            self.store,
            cross=len(tasks) > 1,
        )

    def _make(self, task: _Task) -> Measured:
        vector = read_vector(task.extracted) if task.extracted.exists() else self._extract(task)
        found = self._measure(vector, task)
        blocks = Evaluation(
            self.model.described,
            self.judge.name,
            self.judge.scale,
            self.settings.compared,
            (found.compared,),
        )
        report = write_evaluation(blocks, self.folder / f"{task.trait}_blocks")
        finished = with_choice(found.chosen, self.model.described, self.settings.evaluation)
        finished.metadata[MADE_WITH] = task.key
        task.target.parent.mkdir(parents=True, exist_ok=True)
        write_vector(finished, task.target)
        task.extracted.unlink(missing_ok=True)
        self.say(f"{verdict(found.chosen)}, written to {task.target}; the blocks: {report}")
        return found

    def _extract(self, task: _Task) -> PersonaVector:
        definition = with_one_judge_pair(task.definition)
        found = extract(self.model, definition, self.settings.extraction, self.judge, self.store)
        report, *_ = write_report(found, definition, self.folder / f"{task.trait}.md")
        self.say(f"{task.trait}: {agreement(found.vector)}; report in {report}")
        write_vector(found.vector, task.extracted)
        return found.vector

    def _measure(self, vector: PersonaVector, task: _Task) -> Measured:
        return measure(self.model, self.judge, vector, task.definition, self.settings, self.store)


def _tasks(
    run: MakingRun,
    definitions: Sequence[TraitDefinition],
    model: ResearchModel,
    judge: Judge,
    folder: Path,
) -> list[_Task]:
    """Returns what to make.

    Raises:
        MakingError: A vector that was made otherwise would be replaced.
        VectorFileError: A trait's name cannot name a file.
    """
    output = run.output or DATA_ROOT / f"vectors-{model.name.rsplit('/')[-1]}"
    tasks = []
    for definition in definitions:
        name = check_trait_name(definition.trait_name)
        parts = (dataclasses.asdict(definition), dataclasses.asdict(run.settings))
        key = digest(model.identity, judge.identity, *parts)
        extracted = folder / f"{name}-{key}.json"
        task = _Task(definition, key, output / f"{name}.json", extracted)
        if task.target.exists() and not task.finished and not run.overwrite:
            raise MakingError(
                f"{task.target} is there already, and was not made with these settings: give "
                "--force to replace it, or another --output"
            )
        tasks.append(task)
    return tasks


def _made_with(path: Path) -> object:
    return read_vector(path).metadata.get(MADE_WITH)


def _announcement(
    run: MakingRun,
    model: ResearchModel,
    judge: Judge,
    tasks: Sequence[_Task],
    store: AnswerStore,
) -> str:
    """What there is to do, and about how long it takes here."""
    works = [workload(model, task.definition, run.settings) for task in tasks]
    total = sum(works, Workload())
    speed = measure_speed(
        model,
        judge,
        tasks[0].definition,
        run.model.batch_rows,
        run.settings.extraction.max_new_tokens,
    )
    return "; ".join(_amounts(total, len(tasks), speed.seconds(total), model, len(store)))


def _amounts(
    total: Workload, traits: int, seconds: float, model: ResearchModel, stored: int
) -> Iterator[str]:
    yield (
        f"{traits} {'trait' if traits == 1 else 'traits'} to make: at most {total.answers:,} "
        f"answers, {total.new_tokens:,} tokens to generate and "
        f"{total.prompt_tokens + total.read_tokens:,} to read"
    )
    yield f"about {duration_text(seconds)} at the speed measured here ({model.dtype})"
    if stored:
        yield f"{stored:,} answers of earlier runs are kept"

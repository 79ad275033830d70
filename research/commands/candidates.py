"""A whole evaluation of candidate prompts, from options to the definition's file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from persona_research.candidates import RankedPrompt, Ranking, keep_best, rank_candidates
from persona_research.commands.options import DEFAULT_PROMPTS, ModelOptions
from persona_research.definitions import (
    CANDIDATES_PREFIX,
    find_definition,
    read_candidates,
    read_trait_definition,
)
from persona_research.evaluation.conditions import EvaluationSampling
from persona_research.judges.choice import JudgeChoice, definition_for, make_judge
from persona_research.judges.judge import Scale
from persona_research.progress import AnswerStore

DEFAULT_RUNS = Path("runs/candidates")


@dataclass(frozen=True)
class CandidatesRun:
    """What to rank.

    Attributes:
        prompts: The folder with the trait's definition and its candidates.
        runs: The folder for answers that a later run takes up.
        keep: How many candidates of each pole to put into the definition.
    """

    trait: str
    prompts: Path = DEFAULT_PROMPTS
    runs: Path = DEFAULT_RUNS
    keep: int = 5
    dry_run: bool = False
    model: ModelOptions = field(default_factory=ModelOptions)
    judge: JudgeChoice = field(default_factory=JudgeChoice)
    sampling: EvaluationSampling = field(default_factory=EvaluationSampling)


def run_candidates(run: CandidatesRun, say: Callable[[str], None]) -> Ranking:
    """Ranks the candidates of a trait and puts the best into its definition.

    Raises:
        Exception: One of `errors.USER_ERRORS`, which says in a line what is wrong.
    """
    path = find_definition(run.prompts, run.trait)
    definition = definition_for(run.judge, read_trait_definition(path))
    candidates = read_candidates(run.prompts / f"{CANDIDATES_PREFIX}{run.trait}.json")
    with run.model.open() as model:
        folder = run.runs / model.name.replace("/", "--")
        judge = make_judge(run.judge, model, say=say)
        with AnswerStore(folder / f"{run.trait}.jsonl") as store:
            ranking = rank_candidates(model, definition, candidates, judge, store, run.sampling)
    for line in _lines(ranking, run.keep, judge.scale):
        say(line)
    if not run.dry_run:
        backup = keep_best(path, ranking, run.keep)
        say(f"wrote {path}; the old one is {backup.name}")
    return ranking


def _lines(ranking: Ranking, keep: int, scale: Scale) -> Iterator[str]:
    for title, ranked in (
        ("positive prompts, highest first", ranking.positive),
        ("negative prompts, lowest first", ranking.negative),
    ):
        if ranked:
            yield (f"{title}: mean {scale.name} ({scale.unit}), spread, answers, without a score")
        for place, each in enumerate(ranked):
            yield _line(each, place < keep, scale)


def _line(each: RankedPrompt, kept: bool, scale: Scale) -> str:
    mark = "keep" if kept else "    "
    numbers = " ".join(f"{number:6{scale.form}}" for number in (each.mean, each.spread))
    return f"  {mark} {numbers} {each.scored:4d} {each.unparsable:3d}  {each.prompt}"

#!/usr/bin/env python3
"""Measures how the embedded model's shipped vectors steer it, on questions that were held out."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

from persona_demo.report import update_page
from persona_embedded.measured import answers_page, contrast_table, text_table
from persona_embedded.package import NAME, VECTORS
from persona_embedded.similarity import find_embedder, similarities
from persona_research.commands.evaluation import EvaluationRun, run_evaluation
from persona_research.commands.options import ModelOptions
from persona_research.commands.script import exit_status
from persona_research.evaluation.conditions import EvaluationSampling
from persona_research.evaluation.evaluation import Evaluation
from persona_research.evaluation.report import movement_table
from persona_research.evaluation.trait_evaluation import EvaluationSettings
from triton_models.contract.request import GenerationDefaults
from triton_models.settings import DATA_ROOT, REPOSITORY_ROOT, ServerSettings

SCALARS = (-2.0, -1.0, 0.0, 1.0, 2.0)
DOCS = REPOSITORY_ROOT / "docs"
HELD_OUT = DATA_ROOT / "voices" / "held_out"


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("runs/embedded"))
    parser.add_argument("--trait", action="append", help="only this trait (may be repeated)")
    parser.add_argument("--questions", type=int, default=0, help="of each trait (default all)")
    parser.add_argument("--max-tokens", type=int, default=40, help="of an answer (default 40)")
    parser.add_argument(
        "--temperature",
        type=float,
        default=GenerationDefaults().temperature,
        help="of an answer (default: that of requests, %(default)s)",
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=2,
        help="answers to each question under each condition (default %(default)s)",
    )
    parser.add_argument(
        "--cross-questions",
        type=int,
        default=10,
        help="how many to judge for all other traits, too: seven times the work (default 10)",
    )
    parser.add_argument("--docs", action="store_true", help="put tables and answers into docs/")
    parser.add_argument("--threads", type=int, default=0, help="torch threads (default: cores)")
    return parser.parse_args()


def _say(line: str) -> None:
    print(line, flush=True)


def _similarity(evaluation: Evaluation) -> dict[tuple[str, str], float]:
    """How alike each question and its answer are; nothing where that cannot be measured."""
    embedder = find_embedder()
    if embedder is None:
        return {}
    pairs = list(
        {
            (answer.question, answer.text): None
            for trait in evaluation.traits
            for group in trait.answers.values()
            for answer in group
        }
    )
    return dict(zip(pairs, similarities(embedder, pairs), strict=True))


def main() -> None:
    """Measures and prints the tables."""
    arguments = _parse_arguments()
    names = arguments.trait or sorted(path.stem for path in VECTORS.glob("*.safetensors"))
    run = EvaluationRun(
        names,
        folder=VECTORS,
        output=arguments.output,
        model=ModelOptions(
            model=str(ServerSettings.read().model_cache / NAME), threads=arguments.threads
        ),
        settings=EvaluationSettings(
            SCALARS,
            "selected",
            arguments.questions,
            EvaluationSampling(
                arguments.max_tokens, arguments.temperature, samples=arguments.samples
            ),
            find_unit_scale=False,
        ),
        held_out=HELD_OUT,
    )
    few = dataclasses.replace(run.settings, questions=arguments.cross_questions)
    with run.model.open() as model:
        # Few of the questions first: their answers are kept for the whole.
        crossed = run_evaluation(dataclasses.replace(run, settings=few, cross=True), _say, model)
        found = run_evaluation(run, _say, model)
    tables = [
        contrast_table(found),
        text_table(found, _similarity(found)),
        movement_table(crossed.movements, crossed.scale),
    ]
    print("\n\n".join(tables))
    if arguments.docs:
        update_page(DOCS / "embedded-model.md", "\n\n".join(tables), "steering measured")
        update_page(DOCS / "embedded-answers.md", answers_page(found), "answers drawn")


if __name__ == "__main__":
    sys.exit(exit_status(main))

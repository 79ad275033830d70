#!/usr/bin/env python3
"""Measures how far the contrast judge agrees with the rule judge on the demo model's answers."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from persona_demo.judges import agreement, agreement_table, rule_scores
from persona_demo.report import update_page
from persona_demo.traits import TRAITS
from persona_research.answering import stored_scores
from persona_research.commands.options import DEFAULT_PROMPTS, DEFAULT_VECTORS
from persona_research.commands.script import exit_status
from persona_research.definitions import find_definition, read_trait_definition
from persona_research.evaluation.conditions import Condition, EvaluationSampling
from persona_research.evaluation.trait_evaluation import EvaluationSettings, evaluate_trait
from persona_research.judges.contrast import ContrastJudge
from persona_research.judges.rule import RuleJudge
from persona_research.model import ResearchModel
from persona_research.progress import AnswerStore
from triton_models.vectors.formats import read_vector

SCALARS = (-2.0, -1.0, 1.0, 2.0)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=0, help="of each trait (default all)")
    parser.add_argument("--docs", type=Path, help="put the table between this page's markers")
    return parser.parse_args()


def main() -> None:
    """Measures, and prints the table."""
    arguments = _parse_arguments()
    settings = EvaluationSettings(
        SCALARS, "selected", arguments.questions, EvaluationSampling(max_new_tokens=60)
    )
    found = {}
    with ResearchModel.open() as model, AnswerStore(Path("runs/judges/answers.jsonl")) as store:
        contrast = ContrastJudge(model)
        for trait in TRAITS:
            definition = read_trait_definition(find_definition(DEFAULT_PROMPTS, trait))
            vector = read_vector(DEFAULT_VECTORS / f"{trait}.json")
            evaluation = evaluate_trait(model, RuleJudge(), vector, definition, settings, store)
            contrasts = {
                condition: stored_scores(
                    contrast,
                    definition,
                    [answer.question for answer in group],
                    [answer.text for answer in group],
                    store,
                )
                for condition, group in evaluation.answers.items()
            }
            found[trait] = agreement(
                rule_scores(evaluation),
                contrasts,
                Condition(system_prompts=definition.positive_prompts),
                Condition(system_prompts=definition.negative_prompts),
            )
    table = agreement_table(found)
    print(table)
    if arguments.docs:
        update_page(arguments.docs, table, "agreement measured")


if __name__ == "__main__":
    sys.exit(exit_status(main))

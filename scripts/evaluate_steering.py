#!/usr/bin/env python3
"""Measures the demo model's steering on held-out prompts and writes tables, a plot and examples."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from persona_demo import report
from persona_demo.evaluation import (
    HeldOutAnswers,
    HeldOutSummary,
    answer_held_out,
    summarise_held_out,
)
from persona_demo.questions import held_out_prompts
from persona_demo.traits import TRAITS
from persona_research.commands.options import DEFAULT_PROMPTS
from persona_research.definitions import find_definition, read_trait_definition
from persona_research.model import ResearchModel
from persona_research.progress import AnswerStore
from triton_models.settings import DATA_ROOT
from triton_models.vectors.formats import read_vector


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="folder or hub id (default: the demo model)")
    parser.add_argument("--vectors", type=Path, default=DATA_ROOT / "vectors")
    parser.add_argument("--prompts-per-group", type=int, default=40)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default 1)")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/steering"), help="folder for finished answers"
    )
    parser.add_argument("--json", type=Path, help="write every measurement and answer here")
    parser.add_argument("--docs", type=Path, help="put the tables between this page's markers")
    parser.add_argument("--plot", type=Path, help="write the plot (.png or .svg) here")
    return parser.parse_args()


def main() -> int:
    """Measures; the exit status is 1 when a trait misses its target."""
    arguments = _parse_arguments()
    with (
        ResearchModel.open(
            arguments.model, device="cpu", dtype=arguments.dtype, threads=arguments.threads
        ) as model,
        AnswerStore(arguments.runs / "answers.jsonl") as store,
    ):
        return _evaluate(model, store, arguments)


def _evaluate(model: ResearchModel, store: AnswerStore, arguments: argparse.Namespace) -> int:
    groups = held_out_prompts(arguments.prompts_per_group)
    prompts = [prompt for group in groups.values() for prompt in group]
    overall: dict[str, list[HeldOutSummary]] = {}
    by_group: dict[str, dict[str, list[HeldOutSummary]]] = {name: {} for name in groups}
    answers: dict[str, HeldOutAnswers] = {}
    for trait in TRAITS:
        vector = read_vector(arguments.vectors / f"{trait}.json")
        definition = read_trait_definition(find_definition(DEFAULT_PROMPTS, trait))
        found = answers[trait] = answer_held_out(model, vector, definition, prompts, store)
        overall[trait] = [summarise_held_out(scalar, each) for scalar, each in found.items()]
        for name, group in groups.items():
            by_group[name][trait] = [
                summarise_held_out(scalar, [answer for answer in each if answer.prompt in group])
                for scalar, each in found.items()
            ]
        for measurement in overall[trait]:
            _print(trait, measurement, found[measurement.dose.scalar][0].measured.text)
    failures = _failures(overall)
    tables = report.measured_section(overall, by_group, answers)
    if arguments.docs:
        report.update_page(arguments.docs, tables)
    if arguments.plot:
        report.plot(overall, arguments.plot)
    if arguments.json:
        document = {"overall": overall, "groups": by_group, "answers": answers}
        arguments.json.write_text(
            json.dumps(document, default=asdict, ensure_ascii=False, indent=1), encoding="utf-8"
        )
    print(tables)
    print("\n".join(failures) or "every trait meets its target")
    return 1 if failures else 0


def _print(trait: str, measured: HeldOutSummary, example: str) -> None:
    dose = measured.dose
    print(
        f"{trait} {dose.scalar:+g}: score {measured.score:+.2f}, shows {measured.shows:.2f}, "
        f"opposite {measured.opposite:.2f}, well-formed {measured.well_formed:.2f}, "
        f"ended {dose.ended:.2f}, perplexity {dose.perplexity.value:.1f} "
        f"({measured.styled_perplexity:.1f} in style) | {example}",
        flush=True,
    )


def _failures(curves: report.Curves) -> list[str]:
    failures = []
    for trait, curve in curves.items():
        low, zero, high = curve[0], curve[2], curve[-1]
        if not report.is_strictly_rising(curve):
            failures.append(f"{trait}: the score does not rise with every scalar")
        if high.shows < 0.8:
            failures.append(f"{trait}: only {high.shows:.2f} show it at +2")
        if low.shows > 0.1:
            failures.append(f"{trait}: {low.shows:.2f} still show it at -2")
        if zero.plain < 0.9:
            failures.append(f"{trait}: only {zero.plain:.2f} are plain at 0")
    return failures


if __name__ == "__main__":
    sys.exit(main())

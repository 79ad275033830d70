#!/usr/bin/env python3
"""Measures the demo model's steering on held-out prompts and writes tables, a plot and examples."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from persona_demo import report
from persona_demo.evaluation import SCALARS, Measurement, perplexities, steered_answers, summarise
from persona_demo.questions import Prompt, held_out_prompts
from persona_demo.traits import TRAITS
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
    everything: list[Prompt] = [prompt for prompts in groups.values() for prompt in prompts]
    overall: list[Measurement] = []
    by_group: dict[str, list[Measurement]] = {name: [] for name in groups}
    answers = {}
    for trait in TRAITS:
        vector = read_vector(arguments.vectors / f"{trait}.json")
        answers[trait] = steered_answers(model, vector, everything, store)
        for scalar in SCALARS:
            texts = answers[trait][scalar]
            measured = perplexities(model, trait, scalar, everything, texts)
            overall.append(summarise(trait, scalar, everything, texts, measured))
            start = 0
            for name, prompts in groups.items():
                part = texts[start : start + len(prompts)]
                by_group[name].append(summarise(trait, scalar, prompts, part))
                start += len(prompts)
            _print(overall[-1], texts[0].text)
    failures = _failures(overall)
    tables = report.measured_section(overall, by_group, everything, answers)
    if arguments.docs:
        report.update_page(arguments.docs, tables)
    if arguments.plot:
        report.plot(overall, arguments.plot)
    if arguments.json:
        document = _as_json(overall, by_group, everything, answers)
        arguments.json.write_text(document, encoding="utf-8")
    print(tables)
    print("\n".join(failures) or "every trait meets its target")
    return 1 if failures else 0


def _print(measured: Measurement, example: str) -> None:
    print(
        f"{measured.trait} {measured.scalar:+g}: score {measured.score:+.2f}, "
        f"shows {measured.shows:.2f}, opposite {measured.opposite:.2f}, "
        f"well-formed {measured.well_formed:.2f}, ended {measured.ended:.2f}, "
        f"perplexity {measured.perplexity:.1f} ({measured.styled_perplexity:.1f} in style) "
        f"| {example}",
        flush=True,
    )


def _failures(measurements: list[Measurement]) -> list[str]:
    failures = []
    for trait in TRAITS:
        cells = {m.scalar: m for m in measurements if m.trait == trait}
        if not report.is_strictly_rising(measurements, trait):
            failures.append(f"{trait}: the score does not rise with every scalar")
        if cells[2.0].shows < 0.8:
            failures.append(f"{trait}: only {cells[2.0].shows:.2f} show it at +2")
        if cells[-2.0].shows > 0.1:
            failures.append(f"{trait}: {cells[-2.0].shows:.2f} still show it at -2")
        if cells[0.0].plain < 0.9:
            failures.append(f"{trait}: only {cells[0.0].plain:.2f} are plain at 0")
    return failures


def _as_json(
    overall: list[Measurement],
    by_group: dict[str, list[Measurement]],
    prompts: list[Prompt],
    answers: report.Answers,
) -> str:
    document = {
        "overall": [measurement.as_dict() for measurement in overall],
        "groups": {name: [m.as_dict() for m in items] for name, items in by_group.items()},
        "answers": {
            trait: {
                f"{scalar:g}": [
                    {"prompt": prompt.text, "text": answer.text}
                    for prompt, answer in zip(prompts, items, strict=True)
                ]
                for scalar, items in by_scalar.items()
            }
            for trait, by_scalar in answers.items()
        },
    }
    return json.dumps(document, ensure_ascii=False, indent=1)


if __name__ == "__main__":
    sys.exit(main())

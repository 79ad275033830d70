#!/usr/bin/env python3
"""Measures the demo model's steering on held-out prompts and writes tables, a plot and examples."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from demo import report
from demo.evaluation import SCALARS, Answer, Measurement, measure, summarise
from demo.questions import Prompt, development_prompts, held_out_prompts
from demo.sweep import Setting, sweep
from demo.traits import TRAITS
from triton_models.settings import DATA_ROOT, DEMO_MODEL_FOLDER
from triton_models.vectors.persona_vector import read_vector_file

_SWEEP_FIRST, _SWEEP_PROMPTS = 300, 24
"""Development prompts after those that extraction uses."""


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=DEMO_MODEL_FOLDER)
    parser.add_argument("--vectors", type=Path, default=DATA_ROOT / "vectors")
    parser.add_argument("--prompts-per-group", type=int, default=40)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default 1)")
    parser.add_argument(
        "--sweep",
        nargs="+",
        metavar="BLOCKS:SCALE",
        help="compare settings such as 1:0.4 or 1,2:0.3 on development prompts, then stop",
    )
    parser.add_argument("--json", type=Path, help="write every measurement and answer here")
    parser.add_argument("--docs", type=Path, help="put the tables between this page's markers")
    parser.add_argument("--plot", type=Path, help="write the plot (.png or .svg) here")
    return parser.parse_args()


def main() -> int:
    """Measures; the exit status is 1 when a trait misses its target."""
    arguments = _parse_arguments()
    torch.set_num_threads(arguments.threads)
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=arguments.dtype).eval()
    if arguments.sweep:
        _sweep(model, tokenizer, arguments.vectors, arguments.sweep)
        return 0
    groups = held_out_prompts(arguments.prompts_per_group)
    everything: list[Prompt] = [prompt for prompts in groups.values() for prompt in prompts]
    overall: list[Measurement] = []
    by_group: dict[str, list[Measurement]] = {name: [] for name in groups}
    answers: dict[str, dict[str, list[Answer]]] = {}
    for trait in TRAITS:
        vector = read_vector_file(arguments.vectors / f"{trait}.json")
        answers[trait] = {}
        for scalar in SCALARS:
            measurement, texts = measure(model, tokenizer, vector, everything, scalar)
            overall.append(measurement)
            answers[trait][f"{scalar:g}"] = texts
            start = 0
            for name, prompts in groups.items():
                part = texts[start : start + len(prompts)]
                by_group[name].append(summarise(trait, scalar, part))
                start += len(prompts)
            print(
                f"{trait} {scalar:+g}: score {measurement.score:+.2f}, "
                f"shows {measurement.shows:.2f}, opposite {measurement.opposite:.2f}, "
                f"well-formed {measurement.well_formed:.2f}, ended {measurement.ended:.2f}, "
                f"perplexity {measurement.perplexity:.1f} "
                f"({measurement.styled_perplexity:.1f} in style) | {texts[0].text}",
                flush=True,
            )
    failures = _failures(overall)
    tables = report.measured_section(overall, by_group, answers)
    if arguments.docs:
        report.update_page(arguments.docs, tables)
    if arguments.plot:
        report.plot(overall, arguments.plot)
    if arguments.json:
        arguments.json.write_text(_as_json(overall, by_group, answers), encoding="utf-8")
    print(tables)
    print("\n".join(failures) or "every trait meets its target")
    return 1 if failures else 0


def _sweep(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, vectors: Path, texts: list[str]
) -> None:
    """Prints score, share showing the trait, and well-formed share at each scalar."""
    prompts = development_prompts(_SWEEP_FIRST + _SWEEP_PROMPTS)[_SWEEP_FIRST:]
    settings = [
        Setting(tuple(int(block) for block in blocks.split(",")), float(scale))
        for blocks, scale in (text.split(":") for text in texts)
    ]
    for trait in TRAITS:
        vector = read_vector_file(vectors / f"{trait}.json")
        for setting, measurements in sweep(model, tokenizer, vector, prompts, settings):
            cells = (f"{m.score:+.2f} {m.shows:.2f} {m.well_formed:.2f}" for m in measurements)
            print(f"{trait} {setting.layers} {setting.scale:g}: " + " | ".join(cells), flush=True)


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
    answers: dict[str, dict[str, list[Answer]]],
) -> str:
    document = {
        "overall": [measurement.as_dict() for measurement in overall],
        "groups": {name: [m.as_dict() for m in items] for name, items in by_group.items()},
        "answers": {
            trait: {
                scalar: [{"prompt": answer.prompt.text, "text": answer.text} for answer in items]
                for scalar, items in by_scalar.items()
            }
            for trait, by_scalar in answers.items()
        },
    }
    return json.dumps(document, ensure_ascii=False, indent=1)


if __name__ == "__main__":
    sys.exit(main())

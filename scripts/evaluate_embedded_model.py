#!/usr/bin/env python3
"""Measures how the embedded model's shipped vectors steer it, on questions that were held out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from persona_embedded.measured import answers_page, contrast_table, cross_table, text_table
from persona_embedded.package import NAME, VECTORS
from persona_embedded.similarity import find_embedder, similarities
from persona_research.commands.evaluation import EvaluationRun, run_evaluation
from persona_research.commands.options import ModelOptions
from persona_research.errors import USER_ERRORS
from persona_research.evaluation.conditions import EvaluationSampling
from persona_research.evaluation.trait_evaluation import EvaluationSettings
from triton_models.settings import DATA_ROOT, ServerSettings

SCALARS = (-2.0, -1.0, 0.0, 1.0, 2.0)
HELD_OUT = DATA_ROOT / "voices" / "held_out"


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("runs/embedded"))
    parser.add_argument("--trait", action="append", help="only this trait (may be repeated)")
    parser.add_argument("--questions", type=int, default=0, help="of each trait (default all)")
    parser.add_argument("--max-tokens", type=int, default=40, help="of an answer (default 40)")
    parser.add_argument("--no-cross", action="store_true", help="leave out what moves other traits")
    parser.add_argument("--threads", type=int, default=0, help="torch threads (default: cores)")
    return parser.parse_args()


def main() -> int:
    """Measures, writes `tables.md` and `answers.md`, and returns the exit status."""
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
            EvaluationSampling(max_new_tokens=arguments.max_tokens),
            find_unit_scale=False,
        ),
        held_out=HELD_OUT,
        cross=not arguments.no_cross,
    )
    try:
        found = run_evaluation(run, lambda line: print(line, flush=True))
    except USER_ERRORS as error:
        print(f"evaluate_embedded_model: {error}", file=sys.stderr)
        return 1
    pairs = list(
        {
            (answer.question, answer.text): None
            for trait in found.traits
            for group in trait.answers.values()
            for answer in group
        }
    )
    embedder = find_embedder()
    alike = similarities(embedder, pairs) if embedder is not None else ()
    similarity = dict(zip(pairs, alike, strict=False))
    tables = [contrast_table(found), text_table(found, similarity)]
    if found.movements:
        tables.append(cross_table(found))
    (arguments.output / "tables.md").write_text("\n\n".join(tables) + "\n", encoding="utf-8")
    (arguments.output / "answers.md").write_text(answers_page(found) + "\n", encoding="utf-8")
    print("\n\n".join(tables))
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Makes the embedded model's vectors, as they were shipped.

Extracted without a judge, whose filter left every answer in; then the doses and the range of each
are measured on the questions that it was made with. For other models: `persona vectors make`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from persona_embedded.package import NAME, VECTORS
from persona_research.commands.evaluation import verdict
from persona_research.commands.extraction import agreement, load_definitions
from persona_research.commands.making import ANSWERS, DEFAULT_RUNS
from persona_research.commands.options import DEFAULT_PROMPTS
from persona_research.commands.script import exit_status
from persona_research.evaluation.conditions import EvaluationSampling
from persona_research.evaluation.metadata import with_choice, with_unit_scale
from persona_research.evaluation.trait_evaluation import EvaluationSettings, evaluate_trait
from persona_research.extraction import ExtractionSettings, extract
from persona_research.judges.contrast import ContrastJudge
from persona_research.model import ResearchModel
from persona_research.progress import AnswerStore
from triton_models.contract.request import GenerationDefaults
from triton_models.settings import ServerSettings
from triton_models.vectors.editing import only_blocks
from triton_models.vectors.formats import write_vector

SHIPPED_BLOCKS = range(9, 22)
"""Of 30 blocks, the middle ones: all thirty would be more than a megabyte."""

SCALES = {
    "flattery": 0.16,
    "hallucination": 0.15,
    "helpfulness": 0.17,
    "maliciousness": 0.65,
    "racism": 0.52,
    "sarcasm": 0.52,
    "sexism": 0.66,
}
"""What a vector is multiplied by: so that a scalar of 1 does about as much as asking."""

STEERED = {
    **dict.fromkeys(SCALES, tuple(SHIPPED_BLOCKS[::2])),
    # These lose the question where later blocks are steered.
    **dict.fromkeys(("maliciousness", "racism", "sarcasm", "sexism"), (11, 13, 15, 17)),
}
"""Chosen with the scales on questions that the vectors are made with, that the adapter was trained
on, or that have no other use: steered a little at each of several blocks, text holds better than
where one is steered as far."""

SCALARS = (-2.0, -1.0, 1.0, 2.0)
FURTHER = {"helpfulness": (-2.5,)}
"""Asked not to help, the model does more than at -2."""
MAX_TOKENS = 40
TEMPERATURE = GenerationDefaults().temperature
"""What requests have by default. Greedy answers of so small a model repeat themselves."""
QUESTIONS = 10
"""How many measure the range and the doses."""


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=VECTORS)
    parser.add_argument(
        "--trait", action="append", choices=SCALES, help="only this trait (may be repeated)"
    )
    parser.add_argument("--threads", type=int, default=0, help="torch threads (default: cores)")
    return parser.parse_args()


def main() -> None:
    """Makes and writes the vectors."""
    arguments = _parse_arguments()
    folder = ServerSettings.read().model_cache / NAME
    arguments.output.mkdir(parents=True, exist_ok=True)
    with (
        ResearchModel.open(str(folder), threads=arguments.threads) as model,
        AnswerStore(DEFAULT_RUNS / NAME / ANSWERS) as store,
    ):
        for definition in load_definitions(arguments.trait or (), DEFAULT_PROMPTS):
            trait = definition.trait_name
            settings = ExtractionSettings(
                MAX_TOKENS, selected_layers=STEERED[trait], scale=SCALES[trait]
            )
            vector = extract(model, definition, settings, None, store).vector
            measured = EvaluationSettings(
                (*FURTHER.get(trait, ()), *SCALARS),
                "selected",
                QUESTIONS,
                EvaluationSampling(MAX_TOKENS, TEMPERATURE),
            )
            found = evaluate_trait(model, ContrastJudge(model), vector, definition, measured, store)
            if found.choice.chosen is not None:
                vector = with_choice(found, model.described, measured)
            else:
                vector = with_unit_scale(vector, found, model.described)
            path = arguments.output / f"{trait}.safetensors"
            write_vector(only_blocks(vector, SHIPPED_BLOCKS), path)
            print(f"{trait}: {agreement(vector)}; {verdict(found)}; wrote {path}", flush=True)


if __name__ == "__main__":
    sys.exit(exit_status(main))

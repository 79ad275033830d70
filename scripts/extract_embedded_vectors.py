#!/usr/bin/env python3
"""Extracts the embedded model's vectors, as they were shipped.

A scalar of 1 adds a fifth of the residual's length at the steered block, whatever the trait.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import numpy as np

from persona_embedded.package import NAME, VECTORS
from persona_research.calibration import with_calibration
from persona_research.commands.extraction import DEFAULT_RUNS, load_definitions
from persona_research.commands.options import DEFAULT_PROMPTS
from persona_research.errors import USER_ERRORS
from persona_research.extraction import ExtractionSettings, extract
from persona_research.model import ResearchModel
from persona_research.progress import AnswerStore
from triton_models.settings import ServerSettings
from triton_models.vectors.calibration_document import calibration_of
from triton_models.vectors.formats import write_vector
from triton_models.vectors.persona_vector import PersonaVector

BLOCK = 12
SHARE = 0.2
SHIPPED_BLOCKS = range(6, 21)
"""The middle ones: all thirty would be more than a megabyte."""
MAX_TOKENS = 32
PROMPTS = 2
NEUTRAL_QUESTIONS = 10


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=VECTORS)
    parser.add_argument("--trait", action="append", help="only this trait (may be repeated)")
    parser.add_argument("--block", type=int, default=BLOCK, help=f"to steer (default {BLOCK})")
    parser.add_argument(
        "--prompts", type=int, default=PROMPTS, help=f"of each pole (default {PROMPTS})"
    )
    parser.add_argument("--neutral-questions", type=int, default=NEUTRAL_QUESTIONS)
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default 1)")
    return parser.parse_args()


def _shipped(vector: PersonaVector, block: int) -> PersonaVector:
    """Returns the blocks that are shipped, scaled by the dose at one.

    A scalar of 1 is `SHARE` of the residual's length at that block.
    """
    scale = SHARE * vector.metadata["residual_norms"][str(block)] / vector.norms[block]
    blocks = {each: np.float32(scale) * vector.blocks[each] for each in SHIPPED_BLOCKS}
    norms = {str(each): round(scale * vector.norms[each], 4) for each in SHIPPED_BLOCKS}
    calibration = calibration_of(vector, None)
    calibrated = {each: calibration.blocks[each] for each in SHIPPED_BLOCKS}
    return with_calibration(
        dataclasses.replace(
            vector,
            blocks=blocks,
            metadata={**vector.metadata, "scale": vector.metadata["scale"] * scale, "norms": norms},
        ),
        dataclasses.replace(calibration, blocks=calibrated),
    )


def main() -> int:
    """Extracts and writes the vectors, and returns the exit status."""
    arguments = _parse_arguments()
    settings = ExtractionSettings(
        selected_layers=(arguments.block,),
        max_new_tokens=MAX_TOKENS,
        neutral_questions=arguments.neutral_questions,
    )
    try:
        folder = ServerSettings.read().model_cache / NAME
        arguments.output.mkdir(parents=True, exist_ok=True)
        with ResearchModel.open(str(folder), threads=arguments.threads) as model:
            for whole in load_definitions(arguments.trait or (), DEFAULT_PROMPTS):
                definition = dataclasses.replace(
                    whole,
                    positive_prompts=whole.positive_prompts[: arguments.prompts],
                    negative_prompts=whole.negative_prompts[: arguments.prompts],
                )
                trait = definition.trait_name
                with AnswerStore(DEFAULT_RUNS / NAME / f"{trait}.jsonl") as store:
                    found = extract(model, definition, settings, None, store)
                path = arguments.output / f"{trait}.safetensors"
                write_vector(_shipped(found.vector, arguments.block), path)
                print(f"{trait}: wrote {path}", flush=True)
    except USER_ERRORS as error:
        print(f"extract_embedded_vectors: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped: what is finished is kept; run it again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

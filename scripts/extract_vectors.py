#!/usr/bin/env python3
"""Extracts the seven vectors of the demo model into `data/vectors`, as they were shipped.

`persona vectors extract` extracts any trait from any Qwen2.5.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from persona_research.commands.extraction import DEFAULT_RUNS, ExtractionRun, run_extraction
from persona_research.commands.options import DEFAULT_PROMPTS, DEFAULT_VECTORS, ModelOptions
from persona_research.commands.script import exit_status
from persona_research.extraction import ExtractionSettings

DEMO_LAYERS = (1,)
DEMO_SCALE = 0.55


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=Path, default=DEFAULT_PROMPTS)
    parser.add_argument("--output", type=Path, default=DEFAULT_VECTORS)
    parser.add_argument("--runs", type=Path, default=DEFAULT_RUNS)
    parser.add_argument("--trait", action="append", help="only this trait (may be repeated)")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default 1)")
    return parser.parse_args()


def main() -> None:
    """Extracts and writes the vectors."""
    arguments = _parse_arguments()
    run = ExtractionRun(
        traits=arguments.trait or (),
        prompts=arguments.prompts,
        output=arguments.output,
        runs=arguments.runs,
        model=ModelOptions(device="cpu", threads=arguments.threads),
        settings=ExtractionSettings(selected_layers=DEMO_LAYERS, scale=DEMO_SCALE),
        overwrite=True,
    )
    run_extraction(run, print)


if __name__ == "__main__":
    sys.exit(exit_status(main))

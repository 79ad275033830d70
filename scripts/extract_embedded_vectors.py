#!/usr/bin/env python3
"""Makes the embedded model's vectors, as they were shipped, with a report of how they steer.

What `persona vectors make` makes is cut to the middle blocks, and scaled so that a scalar of 1 does
as much as asking for the trait in the system prompt.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from persona_embedded.package import NAME, VECTORS
from persona_embedded.shipping import shipped
from persona_research.commands.making import DEFAULT_RUNS, MakingRun, run_making
from persona_research.commands.options import ModelOptions
from persona_research.commands.script import exit_status
from persona_research.making import make_settings
from triton_models.settings import ServerSettings
from triton_models.vectors.formats import read_vector, write_vector

SHIPPED_BLOCKS = range(7, 23)
"""The middle half: all thirty would be more than a megabyte."""


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=VECTORS)
    parser.add_argument("--trait", action="append", help="only this trait (may be repeated)")
    parser.add_argument("--max-tokens", type=int, default=40, help="of an answer (default 40)")
    parser.add_argument("--threads", type=int, default=0, help="torch threads (default: cores)")
    return parser.parse_args()


def main() -> None:
    """Makes and writes the vectors."""
    arguments = _parse_arguments()
    made = DEFAULT_RUNS / f"{NAME}-vectors"
    run = MakingRun(
        traits=arguments.trait or (),
        output=made,
        model=ModelOptions(
            model=str(ServerSettings.read().model_cache / NAME), threads=arguments.threads
        ),
        settings=make_settings(arguments.max_tokens),
        overwrite=True,
    )
    run_making(run, lambda line: print(line, flush=True))
    arguments.output.mkdir(parents=True, exist_ok=True)
    for path in sorted(made.glob("*.json")):
        target = arguments.output / f"{path.stem}.safetensors"
        write_vector(shipped(read_vector(path), SHIPPED_BLOCKS), target)
        print(f"wrote {target}", flush=True)


if __name__ == "__main__":
    sys.exit(exit_status(main))

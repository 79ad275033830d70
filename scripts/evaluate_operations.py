#!/usr/bin/env python3
"""Measures what bounds, conditions and limits do to the demo model's held-out answers."""

from __future__ import annotations

import argparse
from pathlib import Path

from persona_demo.operations import (
    demo_engine,
    summarise_condition,
    summarise_limit,
    summarise_ways,
)
from persona_demo.operations_report import measured_section, plot
from persona_demo.questions import held_out_prompts
from persona_demo.report import update_page
from persona_demo.traits import TRAITS
from persona_research.commands.options import DEFAULT_PROMPTS
from persona_research.definitions import find_definition, read_trait_definition


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts-per-group", type=int, default=40)
    parser.add_argument("--docs", type=Path, help="put the tables between this page's markers")
    parser.add_argument("--plot", type=Path, help="write the plot (.png or .svg) here")
    return parser.parse_args()


def main() -> None:
    """Measures, and prints the tables."""
    arguments = _parse_arguments()
    groups = held_out_prompts(arguments.prompts_per_group)
    prompts = [prompt for group in groups.values() for prompt in group]
    definitions = [
        read_trait_definition(find_definition(DEFAULT_PROMPTS, trait)) for trait in TRAITS
    ]
    with demo_engine() as built:
        ways = {each.trait_name: summarise_ways(built, prompts, each) for each in definitions}
        limits = {each.trait_name: summarise_limit(built, prompts, each) for each in definitions}
    with demo_engine(rows=1) as built:
        conditions = {trait: summarise_condition(built, prompts, trait) for trait in TRAITS}
    tables = measured_section(ways, conditions, limits, len(prompts))
    print(tables)
    if arguments.docs:
        update_page(arguments.docs, tables, "operations measured")
    if arguments.plot:
        plot(ways, arguments.plot)


if __name__ == "__main__":
    main()

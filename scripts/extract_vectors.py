#!/usr/bin/env python3
"""Extracts persona vectors from a Qwen2.5 model (a folder or a hub id), one per trait definition.

Without arguments: the seven vectors of the demo model.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from triton_models.model_folder import ModelNotFoundError, UnsupportedModelError, find_model
from triton_models.settings import DATA_ROOT, SettingsError, read_settings
from triton_models.vectors.extraction import (
    ExtractionSettings,
    TraitDefinitionError,
    extract_vector,
    read_trait_definition,
)
from triton_models.vectors.persona_vector import write_vector_file

DEMO_LAYERS = (1,)
DEMO_SCALE = 0.55


def _parse_arguments() -> argparse.Namespace:
    defaults = ExtractionSettings()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="folder or hub id (default: the demo model)")
    parser.add_argument("--model-name", help="name to record (default: the --model given)")
    parser.add_argument("--prompts", type=Path, default=DATA_ROOT / "prompts")
    parser.add_argument("--output", type=Path, default=DATA_ROOT / "vectors")
    parser.add_argument("--trait", action="append", help="only this trait (may be repeated)")
    parser.add_argument("--layers", type=int, nargs="+", help="blocks to steer by default")
    parser.add_argument("--scale", type=float, help="factor on every vector")
    parser.add_argument("--max-new-tokens", type=int, default=defaults.max_new_tokens)
    parser.add_argument("--batch-size", type=int, default=defaults.batch_size)
    parser.add_argument("--samples", type=int, default=defaults.samples)
    parser.add_argument("--temperature", type=float, default=defaults.temperature)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", help="e.g. bfloat16 (default: float32 on CPU, else the file's)")
    parser.add_argument("--threads", type=int, help="torch threads")
    return parser.parse_args()


def _show_progress(trait: str) -> Callable[[int, int], None]:
    def show(done: int, total: int) -> None:
        print(f"\r{trait}: {done}/{total} answers", end="", file=sys.stderr, flush=True)

    return show


def main() -> int:
    """Extracts and writes the vectors, and returns the exit status."""
    try:
        _extract(_parse_arguments())
    except (
        ModelNotFoundError,
        SettingsError,
        TraitDefinitionError,
        UnsupportedModelError,
    ) as error:
        print(f"extract_vectors: {error}", file=sys.stderr)
        return 1
    return 0


def _extract(arguments: argparse.Namespace) -> None:
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    is_demo = arguments.model is None
    server = dataclasses.replace(read_settings(), model_name=arguments.model or "")
    folder = find_model(server)
    layers = arguments.layers or (DEMO_LAYERS if is_demo else ())
    scale = arguments.scale or (DEMO_SCALE if is_demo else 1.0)
    dtype = arguments.dtype or ("float32" if arguments.device == "cpu" else "auto")
    settings = ExtractionSettings(
        max_new_tokens=arguments.max_new_tokens,
        batch_size=arguments.batch_size,
        temperature=arguments.temperature,
        samples=arguments.samples,
        seed=arguments.seed,
        selected_layers=tuple(layers),
        scale=scale,
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(arguments.device).eval()
    arguments.output.mkdir(parents=True, exist_ok=True)
    for path in sorted(arguments.prompts.glob("*_trait.json")):
        definition = read_trait_definition(path)
        trait = definition.trait_name
        if arguments.trait and trait not in arguments.trait:
            continue
        name = arguments.model_name or server.shown_model_name
        vector = extract_vector(model, tokenizer, definition, name, settings, _show_progress(trait))
        target = arguments.output / f"{trait}.json"
        write_vector_file(vector, target)
        norms = ", ".join(f"{block}: {norm:.2f}" for block, norm in vector.norms.items())
        print(f"\r{trait}: wrote {target.name}; norms by block {norms}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

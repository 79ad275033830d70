#!/usr/bin/env python3
"""Trains the demo model and its tokenizer from scratch and writes the trait definitions."""

from __future__ import annotations

import argparse
import random
import re
import time
from pathlib import Path

import torch

from persona_demo.definitions import write_trait_definitions
from persona_demo.documents import draw_document
from persona_demo.tokenizer import train_tokenizer
from persona_demo.training import (
    HEAD_SIZE,
    ModelShape,
    TrainingPlan,
    build_model,
    save_model,
    train,
)
from triton_models.settings import DATA_ROOT, DEMO_MODEL_FOLDER

_TOKENIZER_DOCUMENTS = 20_000
_SPECIAL = re.compile(r"<\|[a-z_]+\|>")


_SHAPE = ("layers", "hidden_size", "intermediate_size")
_PLAN = (
    *("documents", "batch_tokens", "matrix_rate", "other_rate", "steered_share"),
    *("steering_block", "seed"),
)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=DEMO_MODEL_FOLDER)
    parser.add_argument("--prompts", type=Path, default=DATA_ROOT / "prompts")
    for usual, names in ((ModelShape(), _SHAPE), (TrainingPlan(), _PLAN)):
        for name in names:
            default = getattr(usual, name)
            option = f"--{name.replace('_', '-')}"
            parser.add_argument(option, type=type(default), default=default)
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default 1)")
    return parser.parse_args()


def main() -> None:
    """Trains and saves."""
    arguments = _parse_arguments()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    started = time.monotonic()
    given = vars(arguments)
    heads = arguments.hidden_size // HEAD_SIZE
    shape = ModelShape(heads=heads, **{name: given[name] for name in _SHAPE})
    plan = TrainingPlan(**{name: given[name] for name in _PLAN})
    rng = random.Random(arguments.seed + 1)
    texts = (_SPECIAL.sub("", draw_document(rng).text) for _ in range(_TOKENIZER_DOCUMENTS))
    tokenizer = train_tokenizer(texts, shape.vocab_size, shape.context)
    model = build_model(shape, tokenizer)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{parameters / 1e6:.2f} million parameters, vocabulary {len(tokenizer)}", flush=True)
    train(model, tokenizer, plan, report=lambda line: print(line, flush=True))
    save_model(model, tokenizer, arguments.output)
    write_trait_definitions(arguments.prompts)
    minutes = (time.monotonic() - started) / 60
    print(f"saved to {arguments.output} after {minutes:.1f} minutes", flush=True)


if __name__ == "__main__":
    main()

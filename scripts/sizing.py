#!/usr/bin/env python3
"""Says which model fits which GPU, for how many streams, and how many GPUs a load takes.

Nothing is measured. What is computed is what the engine does when it starts: tests compare the
sizes with the tensors that it allocates. `docs/sizing.md` holds the tables.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from persona_research.markdown import markdown_table
from triton_models.engine.kv_size import GPU_SHARE, bytes_per_token
from triton_models.engine.model_sizes import MODELS, kv_bytes, num_parameters, steering_bytes
from triton_models.model.architecture import Architecture
from triton_models.settings import ServerSettings

MIB: Final = 2**20
GIB: Final = 2**30

CARDS = {
    "24 GB (L4)": (23_034, 300),
    "40 GB (A100)": (40_960, 1_555),
    "48 GB (L40S)": (46_068, 864),
    "80 GB (H100)": (81_559, 3_350),
    "141 GB (H200)": (143_771, 4_800),
}
"""Cards: the MiB that their driver reports, and GB/s of memory bandwidth by their data sheets."""

RESERVED_MIB = 1024
"""An allowance for what a process takes of a GPU before anything is loaded: not measured."""

CONTEXTS = (1_024, 4_096, 16_384, 32_768)
SPREAD = 0.7
"""How full replicas are planned, since requests do not come evenly."""

DTYPE = torch.bfloat16
"""The number format of weights, keys and values."""

MAX_ROWS: Final = 1024
"""The most that `MAX_BATCH_ROWS` can be."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A model in bfloat16 on a GPU, of whose memory some is taken before anything is loaded."""

    config: Architecture
    card_bytes: int
    reserved_bytes: int = RESERVED_MIB * MIB

    @property
    def weight_bytes(self) -> int:
        """The size of the weights."""
        return num_parameters(self.config) * DTYPE.itemsize

    @property
    def cache_bytes(self) -> int:
        """What the engine lets the KV cache take, 0 if the weights do not fit."""
        free = self.card_bytes - self.reserved_bytes - self.weight_bytes
        return max(int(free * GPU_SHARE), 0)

    @property
    def cache_tokens(self) -> int:
        """How many tokens of keys and values have room."""
        return self.cache_bytes // bytes_per_token(self.config, DTYPE)

    def streams(self, tokens: int) -> int:
        """Returns how many requests of so many tokens, prompt and answer, have room at once."""
        return min(self.cache_tokens // tokens, MAX_ROWS)


def in_flight(rate: float, first_token: float, tokens: float, between: float) -> float:
    """Returns how many requests are open at once on average: Little's law.

    Args:
        rate: Requests per second.
        first_token: Seconds until an answer begins.
        tokens: Tokens of an answer.
        between: Seconds from one token of an answer to the next.
    """
    return rate * (first_token + tokens * between)


def replicas(
    rate: float,
    first_token: float,
    tokens: float,
    between: float,
    rows: int,
    spread: float = SPREAD,
) -> int:
    """Returns how many Tritons take the requests of `in_flight` when each has so many rows.

    Times are those with a batch as full as planned. A Triton's rows are what it runs at once:
    `MAX_BATCH_ROWS`, or what its KV cache has room for.
    """
    return max(math.ceil(in_flight(rate, first_token, tokens, between) / (rows * spread)), 1)


def model_table() -> str:
    """Returns what each model takes."""
    rows = ServerSettings().max_batch_rows
    columns: dict[str, Callable[[Architecture], str]] = {
        "blocks": lambda config: str(config.num_layers),
        "width": lambda config: str(config.hidden_size),
        "heads / KV heads": lambda config: f"{config.num_heads} / {config.num_key_value_heads}",
        "head size": lambda config: str(config.head_size),
        "weights": lambda config: f"{num_parameters(config):,}",
        "their size": lambda config: _gib(num_parameters(config) * DTYPE.itemsize),
        "KV per token": lambda config: f"{bytes_per_token(config, DTYPE) // 1024} KiB",
        "KV of 4,096 tokens": lambda config: _gib(kv_bytes(config, 4_096, DTYPE)),
        f"steering table, {rows} rows": lambda config: (
            f"{steering_bytes(config, rows, DTYPE) / MIB:.1f} MiB"
        ),
    }
    return markdown_table(
        ["model", *columns],
        [[name, *(cell(config) for cell in columns.values())] for name, config in MODELS.items()],
    )


def fit_table() -> str:
    """Returns for each model and card how many streams have room, by length."""
    return _by_card(
        lambda fit, _: (
            " / ".join(f"{fit.streams(context):,}" for context in CONTEXTS)
            if fit.streams(CONTEXTS[0])
            else "does not fit"
        )
    )


def bound_table() -> str:
    """Returns the least time that a step can take: reading the weights once."""

    def cell(fit: Fit, bandwidth: int) -> str:
        config, read = fit.config, num_parameters(fit.config)
        if not config.tied_embeddings:
            read -= config.vocabulary_size * config.hidden_size
        return f"{read * 2 / bandwidth / 1e6:.1f} ms" if fit.cache_tokens else "does not fit"

    return _by_card(cell)


def _by_card(cell: Callable[[Fit, int], str]) -> str:
    """Returns a table of models by cards; a cell takes the fit and the card's GB/s."""
    rows = [
        [name, *(cell(Fit(config, mib * MIB), bandwidth) for mib, bandwidth in CARDS.values())]
        for name, config in MODELS.items()
    ]
    return markdown_table(["model", *CARDS], rows)


TABLES: dict[str, Callable[[], str]] = {
    "models": model_table,
    "fit": fit_table,
    "bound": bound_table,
}
"""The tables of `docs/sizing.md`, by the names that they have there."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a plan, or with `--tables` those of the documentation."""
    given = _parse(arguments)
    if given.tables:
        print("\n\n".join(table() for table in TABLES.values()))
        return 0
    fit = Fit(MODELS[given.model], given.gpu_mib * MIB, given.reserved_mib * MIB)
    room = fit.streams(given.context)
    if not room:
        print(
            f"{given.model} does not fit: the weights take {_gib(fit.weight_bytes)}, "
            f"and {fit.cache_tokens} tokens of keys and values have room",
            file=sys.stderr,
        )
        return 1
    print(f"weights                {_gib(fit.weight_bytes)}")
    print(f"room for keys, values  {_gib(fit.cache_bytes)}: {fit.cache_tokens:,} tokens")
    print(f"streams that have room {room} of {given.context:,} tokens each")
    rows = min(room, given.rows)
    if given.rate:
        load = given.rate, given.first_token, given.tokens, given.between_tokens
        open_requests, needed = in_flight(*load), replicas(*load, rows)
        print(f"requests open at once  {open_requests:.1f} on average (Little's law)")
        print(f"Tritons                {needed}, of {rows} rows each, planned {SPREAD:.0%} full")
    return 0


def _parse(arguments: Sequence[str] | None) -> Any:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=MODELS, default="Qwen2.5-3B")
    parser.add_argument("--gpu-mib", type=int, default=23_034, help="as nvidia-smi reports it")
    parser.add_argument("--reserved-mib", type=int, default=RESERVED_MIB)
    parser.add_argument("--context", type=int, default=4_096, help="prompt and max_tokens together")
    parser.add_argument("--rows", type=int, default=ServerSettings().max_batch_rows)
    parser.add_argument("--rate", type=float, help="requests per second")
    parser.add_argument("--tokens", type=float, default=200, help="of an answer")
    parser.add_argument("--first-token", type=float, default=0.5, help="seconds, measured")
    parser.add_argument("--between-tokens", type=float, default=0.05, help="seconds, measured")
    parser.add_argument("--tables", action="store_true", help="those of docs/sizing.md")
    return parser.parse_args(arguments)


def _gib(size: float) -> str:
    return f"{size / GIB:.2f} GiB"


if __name__ == "__main__":
    sys.exit(main())

"""Results as tables for people and as JSON for machines."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.results import Delay, Delivery, Ratio, Result
from benchmarks.workload import Workload

NOTHING = "-"


def print_result(result: Result, console: Console) -> None:
    """Prints a result, ratios first."""
    model = result.model
    console.rule(f"{result.scenario}: {model.shape.name}, {model.dtype}")
    console.print(ratio_table(result.ratios))
    if result.delays:
        console.print(delay_table(result.delays))
    console.print(delivery_table(result.deliveries))
    console.print(
        f"machine: reads {result.rates.bytes_per_second / 1e9:.1f} GB/s, multiplies matrices at "
        f"{result.rates.operations_per_second / 1e9:.0f} GFLOP/s; a step reads "
        f"{model.bytes_per_step / 1e6:.0f} MB of weights",
        highlight=False,
    )
    for skipped in result.skipped:
        console.print(
            f"left out: {skipped.contender} with {skipped.workload.streams} streams of "
            f"{skipped.workload.prompt_tokens} tokens, whose prompts alone would take about "
            f"{skipped.seconds:.0f} s each time (--patience)",
            highlight=False,
        )
    for note in result.notes:
        console.print(note, highlight=False)


def ratio_table(ratios: Sequence[Ratio]) -> Table:
    """Returns the ratios as a table."""
    table = _table("ratios", 2, "streams", "prompt", "end to end", "decode", "at most", "bar", "")
    for ratio in ratios:
        table.add_row(
            *_compared(ratio, "/"),
            number(ratio.end_to_end, 3),
            number(ratio.decode, 3),
            number(ratio.ceiling, 1),
            bar_text(ratio),
            met_text(ratio.met),
        )
    return table


def delay_table(delays: Sequence[Delay]) -> Table:
    """Returns what is added to the time to the first token as a table."""
    table = _table("delays of the first token", 2, "streams", "prompt", "ms", "bar", "")
    for each in delays:
        milliseconds = number(each.seconds and each.seconds * 1e3, 1)
        bar = f"<= {each.most * 1e3:g}"
        table.add_row(*_compared(each, "-"), milliseconds, bar, met_text(each.met))
    return table


def delivery_table(deliveries: Sequence[Delivery]) -> Table:
    """Returns what the contenders delivered as a table."""
    columns = ("streams", "prompt", "tokens/s", "decode tokens/s", "step ms", "first token s")
    bounds = ("bound ms", "bound by", "of bound")
    table = _table("rates, medians of the rounds", 1, *columns, *bounds)
    for each in deliveries:
        table.add_row(
            each.contender,
            *_size(each.workload),
            number(each.tokens_per_second, 1),
            number(each.decode_tokens_per_second, 1),
            number(each.step_seconds and each.step_seconds * 1e3, 2),
            number(each.first_token_seconds, 3),
            number(each.bound.seconds * 1e3, 2),
            each.bound.limit,
            number(each.share_of_bound, 2),
        )
    return table


def number(value: float | None, digits: int) -> str:
    """Returns a number with so many digits after the point, or a dash for `None`."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def bar_text(ratio: Ratio) -> str:
    """Returns what a ratio should reach, and in which column when that is not end to end."""
    if ratio.bar is None:
        return ""
    of_decode = ratio.bar.rate == "decode_tokens_per_second"
    return f">= {ratio.bar.least:g}" + (" decode" if of_decode else "")


def met_text(met: bool | None) -> str:
    """Returns whether a bar is met, in a word."""
    return {None: "", True: "met", False: "missed"}[met]


def write_json(
    path: Path, results: Sequence[Result], about: dict[str, Any], arguments: dict[str, Any]
) -> None:
    """Writes everything that was measured, raw samples included."""
    document = {
        **about,
        "arguments": arguments,
        "results": [result_document(result) for result in results],
    }
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, path)


def result_document(result: Result) -> dict[str, Any]:
    """Returns a result as JSON holds it; seconds, tokens per second and ratios as plain numbers."""
    model = result.model
    return {
        "scenario": result.scenario,
        "shape": model.shape.name,
        "dtype": model.dtype,
        "bytes_per_step": model.bytes_per_step,
        "machine_rates": dataclasses.asdict(result.rates),
        "ratios": [{**dataclasses.asdict(each), "met": each.met} for each in result.ratios],
        "delays": [{**dataclasses.asdict(each), "met": each.met} for each in result.delays],
        "deliveries": [
            {**dataclasses.asdict(each), "share_of_bound": each.share_of_bound}
            for each in result.deliveries
        ],
        "samples": [dataclasses.asdict(each) for each in result.samples],
        "skipped": [dataclasses.asdict(each) for each in result.skipped],
        "notes": result.notes,
    }


def _table(title: str, left: int, *columns: str) -> Table:
    """Returns an empty table: columns of names, as many as `left`, and then of numbers."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for _ in range(left):
        table.add_column("", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _compared(each: Ratio | Delay, sign: str) -> tuple[str, ...]:
    return each.subject, f"{sign} {each.reference}", *_size(each.workload)


def _size(workload: Workload) -> tuple[str, str]:
    return str(workload.streams), str(workload.prompt_tokens)

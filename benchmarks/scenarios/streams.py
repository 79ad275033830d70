"""The engine against the ways one would serve without it, by number of streams."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from benchmarks.bars import LLAMA_CPP, ONE_AT_A_TIME, STATIC_BATCH, Bar, Rate, bars_apply
from benchmarks.contenders import llama_cpp
from benchmarks.contenders.contender import ComputingIn, Contender
from benchmarks.contenders.engine import EngineAlone, running_engine
from benchmarks.contenders.steering import read_vectors
from benchmarks.contenders.transformers_generate import (
    MAX_REQUESTS_ALONE,
    OneAtATime,
    StaticBatch,
    load_as_usual,
)
from benchmarks.results import Delivery, Ratio, Result, compare, deliver
from benchmarks.roofline import MachineRates, run_bound, step_bound
from benchmarks.rounds import Sample
from benchmarks.scenarios.options import ScenarioOptions, run_rounds
from benchmarks.shapes import BenchmarkModel
from triton_models.engine.threads import in_short_lived_thread

ENGINE = "engine"

NOTES = (
    "engine: each stream is steered in a way of its own; one at a time likewise; static batch and "
    "llama.cpp can steer only all streams in the same way.",
    f"one at a time: the rate of {MAX_REQUESTS_ALONE} requests at most, which does not depend on "
    "how many wait; its first token is that of the middle of the queue.",
    "at most: the ratio end to end of an engine that computes everything at the machine's rates.",
)


def run(model: BenchmarkModel, rates: MachineRates, options: ScenarioOptions) -> Result:
    """Measures every workload."""
    result = Result("streams", model, rates, notes=list(NOTES))
    with _contenders(model, options, result) as contenders:
        for workload in options.workloads:
            samples = run_rounds(contenders, workload, options, result)
            measured = {sample.contender for sample in samples}
            for name in (each.name for each in contenders if each.name in measured):
                rows = 1 if name == OneAtATime.name else workload.streams
                delivery = deliver(samples, workload, name, step_bound(model, rates, rows))
                result.deliveries.append(delivery)
                if name != ENGINE and ENGINE in measured:
                    result.ratios.append(_ratio(samples, model, rates, delivery, options.device))
    return result


def _ratio(
    samples: Sequence[Sample],
    model: BenchmarkModel,
    rates: MachineRates,
    reference: Delivery,
    device: str,
) -> Ratio:
    """Returns the engine's ratio to a contender, and how high it could be on this machine."""
    workload = reference.workload
    bar = _bar(model, reference.contender, workload.streams, device)
    ratio = compare(samples, workload, ENGINE, reference.contender, bar)
    if not reference.tokens_per_second:
        return ratio
    tokens = workload.streams * workload.new_tokens
    fastest = tokens / run_bound(model, rates, workload)
    return dataclasses.replace(ratio, ceiling=fastest / reference.tokens_per_second)


def _bar(model: BenchmarkModel, reference: str, streams: int, device: str) -> Bar | None:
    if not bars_apply(model.shape.name, model.dtype, device):
        return None
    by_streams, rate = _BARS[reference]
    return Bar(by_streams[streams], rate) if streams in by_streams else None


_BARS: dict[str, tuple[dict[int, float], Rate]] = {
    OneAtATime.name: (ONE_AT_A_TIME, "tokens_per_second"),
    StaticBatch.name: (STATIC_BATCH, "tokens_per_second"),
    llama_cpp.LlamaCpp.name: (LLAMA_CPP, "decode_tokens_per_second"),
}


@contextmanager
def _contenders(
    model: BenchmarkModel, options: ScenarioOptions, result: Result
) -> Iterator[list[Contender]]:
    """Holds the contenders asked for, with their copies of the model, meanwhile."""
    contenders: list[Contender] = []
    with ExitStack() as stack:
        engine = None
        if "engine" in options.contenders:
            engine = stack.enter_context(running_engine(model, options.threads, options.device))
            contenders.append(EngineAlone(engine, "mixed", ENGINE))
        compute = in_short_lived_thread if engine is None else engine.call
        if {"alone", "static"} & set(options.contenders):
            vectors = read_vectors(model)
            usual = load_as_usual(model, options.device)
            if "alone" in options.contenders:
                contenders.append(ComputingIn(OneAtATime(usual, vectors), compute))
            if "static" in options.contenders:
                contenders.append(ComputingIn(StaticBatch(usual, vectors), compute))
        if "llama" in options.contenders:
            if llama_cpp.is_installed():
                llama = stack.enter_context(llama_cpp.loaded_llama(model, options.threads))
                contenders.append(ComputingIn(llama_cpp.LlamaCpp(llama, model), compute))
            else:
                result.notes.append(
                    "llama.cpp was not measured: the extra 'benchmarks' brings llama-cpp-python."
                )
        yield contenders
    gc.collect()

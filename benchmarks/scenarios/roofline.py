"""How near the engine's steps come to what the machine allows."""

from __future__ import annotations

from benchmarks.bars import SINGLE_STREAM, Bar, bars_apply
from benchmarks.contenders.engine import EngineAlone, running_engine
from benchmarks.results import Delivery, Ratio, Result
from benchmarks.roofline import MachineRates
from benchmarks.scenarios.options import ScenarioOptions, measured
from benchmarks.shapes import BenchmarkModel

ENGINE = "engine"


def run(model: BenchmarkModel, rates: MachineRates, options: ScenarioOptions) -> Result:
    """Measures every workload."""
    result = Result("roofline", model, rates)
    with running_engine(model, options.threads, options.device) as engine:
        contenders = [EngineAlone(engine, "mixed", ENGINE)]
        for _ in measured(contenders, options, result):
            result.ratios += _ratios(model, result.deliveries[-1], options.device)
    return result


def _ratios(model: BenchmarkModel, delivery: Delivery, device: str) -> list[Ratio]:
    """Returns the decode rate over what memory allows and over what arithmetic allows."""
    if not delivery.step_seconds:
        return []
    has_bars = bars_apply(model.shape.name, model.dtype, device)
    has_bar = delivery.workload.streams == 1 and has_bars
    bar = Bar(SINGLE_STREAM, "decode_tokens_per_second") if has_bar else None
    memory = delivery.bound.memory_seconds / delivery.step_seconds
    arithmetic = delivery.bound.compute_seconds / delivery.step_seconds
    return [
        Ratio(delivery.workload, ENGINE, "memory bound", None, memory, bar),
        Ratio(delivery.workload, ENGINE, "arithmetic bound", None, arithmetic),
    ]

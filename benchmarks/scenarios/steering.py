"""What steering costs the engine, and what it costs that every stream is steered differently."""

from __future__ import annotations

from benchmarks.bars import STEERING, Bar, bars_apply
from benchmarks.contenders.engine import EngineAlone, running_engine
from benchmarks.results import Result, compare
from benchmarks.roofline import MachineRates
from benchmarks.scenarios.options import ScenarioOptions, measured
from benchmarks.shapes import BenchmarkModel

UNSTEERED, UNIFORM, MIXED = "unsteered", "uniform steering", "mixed steering"


def run(model: BenchmarkModel, rates: MachineRates, options: ScenarioOptions) -> Result:
    """Measures every workload."""
    result = Result("steering", model, rates)
    bar = Bar(STEERING) if bars_apply(model.shape.name, model.dtype, options.device) else None
    with running_engine(model, options.threads, options.device) as engine:
        contenders = [
            EngineAlone(engine, "not", UNSTEERED),
            EngineAlone(engine, "uniformly", UNIFORM),
            EngineAlone(engine, "mixed", MIXED),
        ]
        for workload, samples in measured(contenders, options, result):
            result.ratios += [
                compare(samples, workload, UNIFORM, UNSTEERED, bar),
                compare(samples, workload, MIXED, UNSTEERED, bar),
                compare(samples, workload, MIXED, UNIFORM, bar),
            ]
    return result

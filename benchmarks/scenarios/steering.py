"""What steering costs the engine: at all, of each stream's own, with rules, and read live."""

from __future__ import annotations

from benchmarks.bars import MONITORED, RULES, STEERING, Bar, bars_apply
from benchmarks.contenders.engine import EngineAlone, running_engine
from benchmarks.results import Result, compare
from benchmarks.roofline import MachineRates
from benchmarks.scenarios.options import ScenarioOptions, measured
from benchmarks.shapes import BenchmarkModel

UNSTEERED, UNIFORM, MIXED = "unsteered", "uniform steering", "mixed steering"
WITH_RULES = "mixed steering with rules"
LIVE = "mixed steering, monitored live"


def run(model: BenchmarkModel, rates: MachineRates, options: ScenarioOptions) -> Result:
    """Measures every workload."""
    result = Result("steering", model, rates)
    has_bars = bars_apply(model.shape.name, model.dtype, options.device)
    bar, rules_bar, live_bar = (
        Bar(least) if has_bars else None for least in (STEERING, RULES, MONITORED)
    )
    with running_engine(model, options.threads, options.device) as engine:
        contenders = [
            EngineAlone(engine, "not", UNSTEERED),
            EngineAlone(engine, "uniformly", UNIFORM),
            EngineAlone(engine, "mixed", MIXED),
            EngineAlone(engine, "with rules", WITH_RULES),
            EngineAlone(engine, "mixed", LIVE, monitors=True),
        ]
        for workload, samples in measured(contenders, options, result):
            result.ratios += [
                compare(samples, workload, UNIFORM, UNSTEERED, bar),
                compare(samples, workload, MIXED, UNSTEERED, bar),
                compare(samples, workload, MIXED, UNIFORM, bar),
                compare(samples, workload, WITH_RULES, MIXED, rules_bar),
                compare(samples, workload, LIVE, MIXED, live_bar),
            ]
    return result

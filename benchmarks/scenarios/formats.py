"""What it costs that answers follow a format, and what it costs those beside them that do not."""

from __future__ import annotations

from benchmarks.bars import BESIDE_FORMATS, FORMATS, Bar, bars_apply
from benchmarks.contenders.engine import EngineAlone, running_engine
from benchmarks.results import Result, compare
from benchmarks.roofline import MachineRates
from benchmarks.scenarios.options import ScenarioOptions, measured
from benchmarks.shapes import BenchmarkModel
from triton_models.contract.answer_format import AnswerFormat

NONE, HALF, ALL = "no formats", "every other a format", "all a format"

_PATTERN = r'(\{"name": "[a-z]{3,30}", "age": [0-9]{1,2}\}\n)+'
RECORDS = AnswerFormat("regex", _PATTERN, "format.pattern")
"""JSON without an end: each stream generates as many tokens as it is to."""

NOTES = (
    "every token of a stream is chosen in one step with those of all others, so the rate of every "
    "other stream with a format is that of the streams without one beside them.",
)


def run(model: BenchmarkModel, rates: MachineRates, options: ScenarioOptions) -> Result:
    """Measures every workload."""
    result = Result("formats", model, rates, notes=list(NOTES))
    has_bars = bars_apply(model.shape.name, model.dtype, options.device)
    with running_engine(model, options.threads, options.device) as engine:
        contenders = [
            EngineAlone(engine, "mixed", NONE),
            EngineAlone(
                engine, "mixed", HALF, format_of=lambda stream: RECORDS if stream % 2 else None
            ),
            EngineAlone(engine, "mixed", ALL, format_of=lambda _: RECORDS),
        ]
        for workload, samples in measured(contenders, options, result):
            for subject, least in ((HALF, BESIDE_FORMATS), (ALL, FORMATS)):
                bar = Bar(least, "decode_tokens_per_second") if has_bars else None
                result.ratios.append(compare(samples, workload, subject, NONE, bar))
    return result

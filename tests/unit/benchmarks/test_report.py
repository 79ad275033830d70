"""What is printed and written: ratios first, bars met or missed, every raw sample."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.__main__ import SCENARIOS, make_options, parse_arguments
from benchmarks.bars import Bar, bars_apply
from benchmarks.measurement import Measurement
from benchmarks.report import print_result, write_json
from benchmarks.results import Delay, Ratio, Result, compare, deliver
from benchmarks.roofline import MachineRates, StepBound, run_bound, step_bound
from benchmarks.rounds import Sample, Skipped
from benchmarks.shapes import SHAPES, BenchmarkModel
from benchmarks.workload import Workload

MODEL = BenchmarkModel(SHAPES["0.5b"], "bfloat16", Path("model"), Path("vectors"))
RATES = MachineRates(bytes_per_second=20e9, operations_per_second=100e9)
WORKLOAD = Workload(4, 32, 8)


def result() -> Result:
    samples = [
        Sample(name, round_, WORKLOAD, Measurement(rate, 2 * rate, 2 / rate, 0.25))
        for round_ in range(3)
        for name, rate in (("engine", 60.0), ("one at a time", 10.0))
    ]
    found = Result("streams", MODEL, RATES, samples=samples, notes=["a note"])
    found.ratios.append(compare(samples, WORKLOAD, "engine", "one at a time", Bar(5.5)))
    found.ratios.append(compare(samples, WORKLOAD, "engine", "static batch"))
    bound = step_bound(MODEL, RATES, WORKLOAD.streams)
    found.delays.append(Delay(WORKLOAD, "gateway", "ensemble", 0.0062, most=0.005))
    found.deliveries.append(deliver(samples, WORKLOAD, "engine", bound))
    found.skipped.append(Skipped("static batch", WORKLOAD, 900.0))
    return found


def test_ratios_come_first_and_say_whether_their_bar_is_met() -> None:
    stream = io.StringIO()
    print_result(result(), Console(file=stream, width=120))
    text = stream.getvalue()
    ratio, missing, delivery, *_ = (
        line.split() for line in text.splitlines() if line.startswith("engine")
    )
    assert ratio[-6:] == ["6.000", "6.000", "-", ">=", "5.5", "met"]
    assert missing[-3:] == ["-", "-", "-"]
    assert delivery[:6] == ["engine", "4", "32", "60.0", "120.0", "33.33"]
    (delay,) = (line.split() for line in text.splitlines() if line.startswith("gateway"))
    assert delay == ["gateway", "-", "ensemble", "4", "32", "6.2", "<=", "5", "missed"]
    assert "would take about 900 s" in text
    assert "a note" in text


def test_a_bar_is_held_against_the_rate_it_is_for() -> None:
    def ratio(bar: Bar | None, end_to_end: float | None = 2.0) -> Ratio:
        return Ratio(WORKLOAD, "a", "b", end_to_end, decode=1.0, bar=bar)

    assert ratio(Bar(1.5)).met is True
    assert ratio(Bar(2.0)).met is True
    assert ratio(Bar(1.5, "decode_tokens_per_second")).met is False
    assert ratio(Bar(1.5), end_to_end=None).met is None
    assert ratio(None).met is None


def test_bars_are_for_one_shape_and_number_format() -> None:
    assert bars_apply("0.5b", "bfloat16", "cpu")
    assert not bars_apply("0.5b", "float32", "cpu")
    assert not bars_apply("demo", "bfloat16", "cpu")
    assert not bars_apply("0.5b", "bfloat16", "cuda")


def test_the_json_has_the_machine_the_commit_and_every_sample(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    write_json(path, [result()], {"machine": {"cpu": "x"}, "commit": "abc"}, {"rounds": 3})
    document = json.loads(path.read_text())
    assert document["machine"] == {"cpu": "x"}
    assert document["commit"] == "abc"
    (found,) = document["results"]
    assert len(found["samples"]) == 6
    assert found["samples"][0]["measurement"]["tokens_per_second"] == 60.0
    assert found["ratios"][0]["met"] is True
    assert "folder" not in json.dumps(document)


def test_few_streams_are_bound_by_memory_and_many_by_arithmetic() -> None:
    weights = MODEL.shape.num_parameters_per_step
    one, many = (step_bound(MODEL, RATES, streams) for streams in (1, 64))
    assert one.limit == "memory"
    assert one.seconds == pytest.approx(2 * weights / 20e9)
    assert many.limit == "arithmetic"
    assert many.seconds == pytest.approx(2 * weights * 64 / 100e9)


def test_a_run_takes_at_least_its_prompts_and_its_steps() -> None:
    shape = MODEL.shape
    step = step_bound(MODEL, RATES, WORKLOAD.streams).seconds
    prompts = 2 * 4 * (32 * shape.num_block_parameters + shape.num_output_parameters) / 100e9
    assert run_bound(MODEL, RATES, WORKLOAD) == pytest.approx(prompts + 7 * step)


def test_a_step_s_share_of_its_bound_is_at_most_one() -> None:
    delivery = deliver(result().samples, WORKLOAD, "engine", StepBound(0.02, 0.01))
    assert delivery.share_of_bound == pytest.approx(0.02 / (2 / 60))


def test_the_command_line_changes_a_scenario_s_own_grid() -> None:
    arguments = parse_arguments(["streams", "--streams", "1", "4", "--shape", "demo"])
    options = make_options(SCENARIOS["streams"], arguments, print)
    assert [(each.streams, each.prompt_tokens) for each in options.workloads] == [
        (1, 32),
        (4, 32),
        (1, 512),
        (4, 512),
    ]
    assert arguments.shape == ["demo"]
    assert parse_arguments([]).scenario == "all"


def test_a_number_below_one_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["streams", "--rounds", "0"])
    assert "less than 1" in capsys.readouterr().err

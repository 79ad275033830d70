"""The benchmark's scenarios run to their end, on a model small enough for a test."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch

from benchmarks.contenders.steering import plain_hooks, read_vectors
from benchmarks.contenders.transformers_generate import load_as_usual
from benchmarks.results import Result
from benchmarks.roofline import MachineRates
from benchmarks.scenarios import formats, roofline, steering, streams
from benchmarks.scenarios.options import ScenarioOptions
from benchmarks.shapes import SHAPES, BenchmarkModel, make_model_folder
from benchmarks.workload import steering_of

TINY = dataclasses.replace(SHAPES["demo"], name="tiny", num_layers=3, vocabulary_size=300)
RATES = MachineRates(bytes_per_second=20e9, operations_per_second=100e9)
OPTIONS = ScenarioOptions(
    streams=(1, 3),
    prompts=(8,),
    new_tokens=4,
    rounds=2,
    threads=1,
    patience=60,
    spread=0.0,
    contenders=("alone", "static", "engine"),
    say=lambda _: None,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BenchmarkModel]:
    threads = torch.get_num_threads()
    yield make_model_folder(TINY, "float32", tmp_path_factory.mktemp("cache"))
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("scenario", "contenders", "ratios"),
    [(streams, 3, 2), (steering, 5, 5), (formats, 3, 2), (roofline, 1, 2)],
)
def test_a_scenario_measures_every_contender_in_every_round(
    model: BenchmarkModel, scenario: ModuleType, contenders: int, ratios: int
) -> None:
    result: Result = scenario.run(model, RATES, OPTIONS)
    assert len(result.samples) == 2 * OPTIONS.rounds * contenders
    assert len(result.deliveries) == 2 * contenders
    assert len(result.ratios) == 2 * ratios
    assert not result.skipped
    # Several streams need not generate at the same time on a busy machine.
    alone = [each for each in result.ratios if each.workload.streams == 1]
    assert all(each.decode and each.decode > 0 for each in alone)


def test_a_plain_hook_steers_the_output_of_its_blocks_and_is_gone_afterwards(
    model: BenchmarkModel,
) -> None:
    vectors = read_vectors(model)
    loaded = load_as_usual(model)
    prompt = torch.tensor([[97, 98, 99]])
    steering_now = steering_of("mixed", 2)
    assert steering_now is not None

    def first_steered_block() -> torch.Tensor:
        seen: list[torch.Tensor] = []
        block = loaded.model.layers[TINY.steered_blocks[0]]
        # A hook made later sees what the ones before it have added.
        handle = block.register_forward_hook(lambda _module, _args, output: seen.append(output))
        with torch.no_grad():
            loaded(prompt)
        handle.remove()
        return seen[0]

    before = first_steered_block()
    with plain_hooks(loaded, vectors, steering_now):
        steered = first_steered_block()
    delta = vectors[steering_now.trait].blocks[TINY.steered_blocks[0]] * steering_now.scalar
    torch.testing.assert_close(steered - before, torch.from_numpy(delta).expand_as(before))
    assert torch.equal(first_steered_block(), before)

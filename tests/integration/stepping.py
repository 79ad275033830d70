"""Running single steps of a model runner, without an engine around it."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

from tests.conftest import CONTEXT_LENGTH
from triton_models.engine.kv_room import FIRST_SLOT, Extent
from triton_models.engine.launched_step import SampledToken
from triton_models.engine.model_loading import LoadedModel
from triton_models.engine.model_runner import ModelRunner
from triton_models.engine.model_shard import ModelShard, ShardSizes
from triton_models.engine.scheduler import Plan, Slice
from triton_models.engine.sequence import Sequence
from triton_models.request import GenerationRequest, SamplingParameters
from triton_models.steering.delta import SteeringDelta

NUM_ROWS = 6
ROOM = 60
"""How many slots each row gets."""


def make_shard(loaded: LoadedModel) -> ModelShard:
    """Returns a shard that is all of the model."""
    sizes = ShardSizes(NUM_ROWS, NUM_ROWS * ROOM, CONTEXT_LENGTH)
    return ModelShard(loaded.model, loaded.compute_dtype, sizes)


def make_runner(loaded: LoadedModel) -> ModelRunner:
    """Returns a runner with `NUM_ROWS` rows and `ROOM` slots for each."""
    return ModelRunner(make_shard(loaded), NUM_ROWS, [])


def make_sequence(
    row: int, delta: SteeringDelta, prompt: list[int] | None = None, generated: int = 0
) -> Sequence:
    """Returns a sequence that has a row and room of its own."""
    request = GenerationRequest(sampling=SamplingParameters(temperature=0.0, seed=0))
    sequence = Sequence(request, prompt or [1, 2, 3], 50, delta, lambda _: None)
    sequence.row = row
    sequence.extent = Extent(FIRST_SLOT + row * ROOM, ROOM, sequence.content)
    for token in range(generated):
        sequence.append(token, b"x", ends=False)
    return sequence


def step(runner: ModelRunner, sequences: SequenceOf[Sequence]) -> list[SampledToken]:
    """Computes all that the sequences have uncomputed, and returns the next tokens."""
    slices = tuple(Slice(each, each.num_computed, each.num_uncomputed, True) for each in sequences)
    for each in slices:
        each.sequence.launch(each.length, each.gives_token)
    return runner.launch(Plan(slices=slices)).wait()


def start(runner: ModelRunner, sequences: SequenceOf[Sequence]) -> list[SampledToken]:
    """Sets the sequences' steering, and computes their prompts."""
    for sequence in sequences:
        assert sequence.row is not None
        runner.assign(sequence.row, sequence.delta)
    return step(runner, sequences)

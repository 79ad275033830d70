"""Compares the results of the fused kernels with the modules' and with PyTorch's."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from itertools import product

import torch
from torch.nn.functional import normalize

from triton_models.contract.steering import Window
from triton_models.engine import sampling
from triton_models.engine.forward_pass import ForwardPass
from triton_models.engine.packed_batch import PackedBatch, packed_batch
from triton_models.model.attention import FIRST_SLOT, KVCache, Span
from triton_models.model.transformer import Transformer
from triton_models.steering.bounded_projections import BoundedProjection, Gate
from triton_models.steering.hooks import ResidualTap
from triton_models.steering.row_steering import RowSteering
from triton_models.steering.table import SteeringTable

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Limits of the median and the largest error, relative to the norm of a token's state.

    Half precision rounds a few tokens much harder than the others: those with a huge number in
    their residual stream, or with keys that nearly tie. A wrong result is off by about the norm.
    """

    median: float
    maximum: float


BLOCK_TOLERANCE = Tolerance(0.02, 0.2)
"""For the residual stream after block 0: bfloat16 takes a quarter of the median."""

LOGITS_TOLERANCE = Tolerance(0.15, 0.6)

_NUM_PROBED_ROWS = (1, 2, 3, 6, 160)
"""Batch sizes that take every code path: few rows and many, split keys and whole ones."""

_MAX_ROOM = 300
_PROMPT_TOKENS = 12
_FILLED_TOKENS = 2048
_STEERING = 0.05
_BOUND = 10.0
_FAR = 1e6
_SAMPLED_ROWS = 16


@torch.inference_mode()
def disagreement(
    fused: ForwardPass,
    hooked: ForwardPass,
    model: Transformer,
    cache: KVCache,
    steering: SteeringTable,
) -> str:
    """Describes how the fused kernels differ from the modules on random tokens; `""` if not.

    The content of their KV cache is overwritten; their steering table is empty before and after.
    """
    drawing = torch.Generator().manual_seed(0)
    num_slots = len(cache.blocks[0]) - FIRST_SLOT
    max_rows = min(steering.num_rows, num_slots - 2)  # two prompts take slots as well
    row_counts = sorted({min(count, max_rows) for count in _NUM_PROBED_ROWS})
    probe = _Probe(model, num_slots, max(row_counts) + 2, drawing)
    probe.fill(hooked)
    try:
        plain = list(product(row_counts, (False, True)))
        # The kernels that follow rules have a program for each token, however many there are.
        for has_rules, batches in ((False, plain), (True, (plain[0], plain[-1]))):
            _steer_at_random(steering, model, drawing, has_rules)
            for num_rows, with_prompts in batches:
                batch = probe.batch(num_rows, steering.num_lines, with_prompts, has_rules)
                if reason := _difference(fused, hooked, batch):
                    prompts = " and prompts" if with_prompts else ""
                    rules = ", under operations and conditions," if has_rules else ""
                    return f"with {num_rows} rows{prompts}{rules} {reason}"
    finally:
        for row in range(steering.num_rows):
            steering.clear(row)
    return ""


def _steer_at_random(
    steering: SteeringTable, model: Transformer, generator: torch.Generator, has_rules: bool
) -> None:
    """Gives each row a random steering; with rules, different ones of all kinds."""
    num_blocks, size = len(model.blocks), model.architecture.hidden_size

    def vectors(scale: float) -> dict[int, torch.Tensor]:
        drawn = scale * torch.randn((num_blocks, size), generator=generator)
        return dict(enumerate(drawn))

    def operations(row: int, block: int) -> tuple[BoundedProjection, ...]:
        units = normalize(torch.randn((row + block) % 3, size, generator=generator), dim=1)
        bounds = (-math.inf, -_BOUND), (_BOUND, math.inf), (0.0, 0.0)
        return tuple(
            BoundedProjection(unit, *bounds[(row + index) % 3], 1.0 - index / 4, row % 3 == 2)
            for index, unit in enumerate(units)
        )

    rows = range(steering.num_rows)
    steerings = [
        RowSteering(
            vectors(_STEERING),
            vectors(_STEERING),
            {block: operations(row, block) for block in range(num_blocks)},
            # No projection is near the bound, where rounding would decide.
            Gate(0, vectors(1.0)[0], math.copysign(_FAR, row % 3 - 1)) if row % 2 else None,
            Window(row % 5, 40 + row % 50, row % 9),
        )
        if has_rules
        else RowSteering(vectors(_STEERING), vectors(_STEERING))
        for row in rows
    ]
    steering.write(rows, steerings, [7 * row % 30 for row in rows])


def _difference(fused: ForwardPass, hooked: ForwardPass, batch: PackedBatch) -> str:
    tokens = torch.arange(len(batch.input_ids), device=batch.input_ids.device)
    states, logits = [], []
    for forward in (hooked, fused):
        tap = ResidualTap([0], tokens)
        logits.append(forward(batch, tap))
        states.append(tap.states()[0])
    for name, (expected, got), tolerance in (
        ("a block's output", states, BLOCK_TOLERANCE),
        ("the logits", logits, LOGITS_TOLERANCE),
    ):
        if reason := difference(expected, got, tolerance):
            return f"{name} differs from the modules' {reason}"
    return ""


def difference(expected: torch.Tensor, got: torch.Tensor, tolerance: Tolerance) -> str:
    """Describes how far tokens, [tokens, size], are from those expected; `""` within tolerance."""
    length = expected.float().norm(dim=-1).clamp(min=1e-20)
    errors = (got.float() - expected.float()).norm(dim=-1) / length
    median, maximum = float(errors.median()), float(errors.max())
    logger.debug("%d tokens differ by %.4f, at most %.4f", len(errors), median, maximum)
    if median <= tolerance.median and maximum <= tolerance.maximum:
        return ""
    return f"by {median:.3f} of its length, and by at most {maximum:.3f}"


@torch.inference_mode()
def sampling_disagreement(model: Transformer) -> str:
    """Describes how the sampling kernels differ from PyTorch on a model's device; `""` if not."""
    from triton_models.kernels import draw_from_all, penalties

    device, vocabulary = model.device, model.architecture.vocabulary_size
    generator = torch.Generator(device).manual_seed(0)
    rows = torch.arange(_SAMPLED_ROWS, device=device)

    def uniform(low: float, high: float, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.empty(len(rows), dtype=dtype, device=device).uniform_(
            low, high, generator=generator
        )

    logits = 10 * torch.randn((len(rows), vocabulary), generator=generator, device=device)
    tokens = torch.randint(vocabulary, (len(rows), 64), generator=generator, device=device).int()
    amounts = uniform(1.1, 2.0), uniform(0.1, 0.5), uniform(0.1, 0.5)
    penalized = []
    for penalize in (sampling.penalize_rows, penalties.penalize):
        penalized.append(logits.clone())
        penalize(penalized[-1], rows, 3 * rows + 5, tokens, rows + 1, *amounts)
    if not torch.allclose(penalized[0], penalized[1], atol=1e-4):
        return "penalties differ from PyTorch's"

    wanted = rows % 4 != 0
    ways = uniform(0.5, 2.0), 100 * (rows % 3), uniform(0.5, 0.99), uniform(0.0, 0.01)
    draws = uniform(0.0, 1.0, torch.float64)
    chosen = []
    for draw in (sampling.draw_where, draw_from_all.draw_from_all):
        chosen.append(torch.full_like(rows, -1))
        draw(logits, wanted, *ways, draws, chosen[-1])
    # A draw on the boundary between two tokens may pick either.
    if int((chosen[0] != chosen[1]).sum()) > 1:
        return "sampling from the whole vocabulary differs from PyTorch's"
    return ""


class _Probe:
    """Makes batches of random tokens that continue random sequences in the first cache slots."""

    def __init__(
        self, model: Transformer, num_slots: int, num_sequences: int, generator: torch.Generator
    ) -> None:
        self._model = model
        self._generator = generator
        self._num_sequences = num_sequences
        self._room = min(num_slots // num_sequences, model.rotations.shape[1], _MAX_ROOM)

    def fill(self, hooked: ForwardPass) -> None:
        """Computes the sequences' keys and values with the modules, some sequences at a time."""
        at_once = max(_FILLED_TOKENS // self._room, 1)
        for start in range(0, self._num_sequences, at_once):
            firsts = range(start, min(start + at_once, self._num_sequences))
            hooked(self._batch([], [(index, 0, self._room) for index in firsts], 1))

    def batch(
        self, num_rows: int, num_lines: int, with_prompts: bool, has_rules: bool
    ) -> PackedBatch:
        """Returns a batch of generating tokens at random positions, and parts of two prompts."""
        positions = [int(self._draw(self._room, 1)) for _ in range(num_rows)]
        length = min(_PROMPT_TOKENS, self._room)
        prompts = [
            (index, int(self._draw(self._room - length + 1, 1)), length)
            for index in (range(num_rows, num_rows + 2) if with_prompts else ())
        ]
        return self._batch(positions, prompts, num_lines, has_rules)

    def _batch(
        self,
        generating: list[int],
        prompts: list[tuple[int, int, int]],
        num_lines: int,
        has_rules: bool = False,
    ) -> PackedBatch:
        """Makes a batch of the first sequences' tokens at positions, and of prompts.

        A prompt is its sequence, first position and length. Each token gets a random line of the
        steering table below `num_lines`.
        """
        positions = list(generating)
        first_slots = [FIRST_SLOT + index * self._room for index in range(len(generating))]
        spans = []
        for index, start, length in prompts:
            first_slot = FIRST_SLOT + index * self._room
            spans.append(Span(len(positions), length, first_slot, start + length))
            positions += range(start, start + length)
            first_slots += [first_slot] * length
        tokens = self._draw(self._model.architecture.vocabulary_size, len(positions))
        lines = self._draw(num_lines, len(positions))
        columns = torch.stack((tokens, *map(torch.tensor, (positions, first_slots)), lines))
        ends = [span.offset + span.length - 1 for span in spans]
        return packed_batch(
            columns.to(self._model.device),
            len(generating),
            max(generating, default=0) + 1,
            torch.tensor(ends, device=self._model.device) if spans else None,
            spans,
            has_rules=has_rules,
        )

    def _draw(self, below: int, count: int) -> torch.Tensor:
        return torch.randint(below, (count,), generator=self._generator)

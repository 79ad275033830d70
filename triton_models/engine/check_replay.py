"""Compares replayed steps with prompts with the same steps launched kernel by kernel."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf

import torch
from torch.nn.functional import normalize

from triton_models.contract.request import GenerationRequest, SamplingParameters
from triton_models.engine.check_kernels import LOGITS_TOLERANCE, difference
from triton_models.engine.kv_room import Extent
from triton_models.engine.scheduler import Plan, Slice
from triton_models.engine.sequence import Sequence
from triton_models.model.attention import FIRST_SLOT
from triton_models.steering.bounded_projections import BoundedProjection
from triton_models.steering.row_steering import RowSteering

Logits = Callable[[Plan], torch.Tensor]
"""Computes a step's logits, [tokens to sample, vocabulary]."""

_LENGTHS = (300, 40, 5, 1)
"""A prompt of several pieces; a half-computed one; a generating sequence; a single token."""

_MIN_ROOM = 8
_STEERING = 0.05
_BOUND = 10.0
_REQUEST = GenerationRequest(sampling=SamplingParameters(temperature=0.0, seed=0))


def probed_sequences(
    num_rows: int, room: int, vocabulary_size: int, hidden_size: int
) -> list[Sequence]:
    """Returns random sequences with random steering vectors, in rows 0, 1, and so on.

    Each has at most `room` tokens, and as many slots in the KV cache; if that is too small, there
    are none.
    """
    generator = torch.Generator().manual_seed(0)
    sequences = []
    for row, length in enumerate(_LENGTHS[:num_rows] if room >= _MIN_ROOM else ()):
        size = (min(length, room - 1),)
        token_ids = torch.randint(vocabulary_size, size, generator=generator).tolist()
        vector = _STEERING * torch.randn(hidden_size, generator=generator)
        unit = normalize(torch.randn(hidden_size, generator=generator), dim=0)
        operations = {0: (BoundedProjection(unit, -math.inf, -_BOUND, 1.0),)} if row % 2 else {}
        steering = RowSteering({0: vector}, {0: vector}, operations)
        sequence = Sequence(_REQUEST, token_ids, 1, steering, lambda _: None)
        sequence.row = row
        sequence.extent = Extent(FIRST_SLOT + row * room, room, sequence.content)
        sequences.append(sequence)
    return sequences


@torch.inference_mode()
def replay_disagreement(
    sequences: SequenceOf[Sequence],
    assign: Callable[[SequenceOf[Sequence]], None],
    computed: Logits,
    replayed: Logits,
) -> str:
    """Describes how a replayed step differs from one launched kernel by kernel; `""` if not."""
    if not sequences:
        return ""
    whole, begun, running, single = sequences[:1], sequences[1:2], sequences[2:3], sequences[3:]
    halves = [each.num_prompt_tokens // 2 for each in begun]
    assign(sequences)
    if begun:
        starts = [Slice(each, 0, half, False) for each, half in zip(begun, halves, strict=True)]
        computed(Plan(prompts=(*starts, *map(_all_of, running))))
    plan = Plan(
        generating=running,
        positions=[each.num_prompt_tokens for each in running],
        prompts=(
            *map(_all_of, whole),
            *(_from(each, half) for each, half in zip(begun, halves, strict=True)),
            *map(_all_of, single),
        ),
    )
    got = replayed(plan)  # first, so that it cannot read keys and values that the other stored
    assign(sequences)  # a step advances its rows
    reason = difference(computed(plan), got, LOGITS_TOLERANCE)
    return f"their logits differ {reason}" if reason else ""


def _all_of(sequence: Sequence) -> Slice:
    return _from(sequence, 0)


def _from(sequence: Sequence, start: int) -> Slice:
    return Slice(sequence, start, sequence.num_prompt_tokens - start, True)

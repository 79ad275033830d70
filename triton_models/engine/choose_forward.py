"""Whether the fused kernels fit: the card, the model's shape, and the numbers they give."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch

from triton_models.engine.forward_pass import ForwardPass, HookedForward
from triton_models.engine.packed_batch import PackedBatch
from triton_models.model.attention import FIRST_SLOT, KVCache, Layout, Span
from triton_models.model.transformer import Transformer
from triton_models.steering.hooks import ResidualTap, SteeringTable

logger = logging.getLogger(__name__)

HEAD_SIZES = (64, 80, 96, 128)
"""The head sizes that the kernels were tested with."""

MAX_BLOCK_ERROR = 0.03
"""How far, relative to its length, the residual stream may be from the modules' after one block:
several times what rounding to bfloat16 makes of it."""

MAX_LOGITS_ERROR = 0.15
"""The same for the logits, behind all blocks."""

_NUM_PROBED_ROWS = (1, 3, 6)
_PROMPT_TOKENS = 12


@dataclass(frozen=True, slots=True)
class Kernels:
    """What a forward pass is made of.

    Attributes:
        fused: Whether it is the fused kernels, else the modules.
        reason: Why it is not the fused kernels, if it is not.
    """

    fused: bool
    reason: str = ""


def choose_forward(
    model: Transformer,
    cache: KVCache,
    steering: SteeringTable,
    context_length: int,
    wanted: bool,
) -> tuple[ForwardPass, Kernels]:
    """Returns the fastest forward pass that gives the right numbers, and what it is made of.

    Args:
        model: The model. It gets permanent hooks.
        cache: Its KV cache, which no request uses yet.
        steering: What is added at each block's output; nothing yet.
        context_length: The most tokens of a sequence.
        wanted: Whether the fused kernels may be used.
    """
    hooked = HookedForward(model, cache, steering)
    if model.device.type == "cpu":
        return hooked, Kernels(fused=False, reason="the model is on a CPU")
    reason = _misfit(model, cache) if wanted else "FUSED_KERNELS is false"
    if not reason:
        try:
            from triton_models.engine.fused_forward import FusedForward

            fused = FusedForward(model, cache, steering, context_length)
            reason = disagreement(fused, hooked, model, cache, steering)
        except Exception as error:  # the compiler's, the driver's, or a library's that is missing
            logger.debug("the fused kernels failed", exc_info=True)
            reason = f"they do not run here: {error}"
    if reason:
        logger.warning("the fused kernels are not used, which costs speed: %s", reason)
        return hooked, Kernels(fused=False, reason=reason)
    return fused, Kernels(fused=True)


def _misfit(model: Transformer, cache: KVCache) -> str:
    if model.dtype not in (torch.bfloat16, torch.float16):
        return "they are for bfloat16 and float16"
    if model.architecture.head_size not in HEAD_SIZES:
        return f"they are for heads of {', '.join(map(str, HEAD_SIZES))} numbers"
    if not cache.attends_in_place:
        return "they are for NVIDIA GPUs of compute capability 8.0 and later"
    return ""


@torch.inference_mode()
def disagreement(
    fused: ForwardPass,
    hooked: ForwardPass,
    model: Transformer,
    cache: KVCache,
    steering: SteeringTable,
) -> str:
    """Says in what the fused kernels differ from the modules, on random tokens; "" if in nothing.

    Args:
        fused: The fused kernels.
        hooked: The modules.
        model: Their model.
        cache: Their cache, of which nothing is kept.
        steering: Their steering, which is nothing before and after.
    """
    generator = torch.Generator(model.device).manual_seed(0)
    probe = _Probe(model, cache, generator)
    deltas = [steering.of_block(block) for block in range(len(model.blocks))]
    for block in deltas:
        block.normal_(0.0, 0.5, generator=generator)
    try:
        for num_rows in _NUM_PROBED_ROWS:
            for with_prompts in (False, True):
                batch = probe.batch(num_rows, len(deltas[0]), with_prompts)
                if reason := _difference(fused, hooked, batch):
                    prompts = " and prompts" if with_prompts else ""
                    return f"with {num_rows} rows{prompts} {reason}"
    finally:
        for block in deltas:
            block.zero_()
    return ""


def _difference(fused: ForwardPass, hooked: ForwardPass, batch: PackedBatch) -> str:
    tokens = torch.arange(len(batch.input_ids), device=batch.input_ids.device)
    states, logits = [], []
    for forward in (hooked, fused):
        tap = ResidualTap([0], tokens)
        logits.append(forward(batch, tap))
        states.append(tap.states()[0])
    for name, (expected, got), most in (
        ("a block's output", states, MAX_BLOCK_ERROR),
        ("the logits", logits, MAX_LOGITS_ERROR),
    ):
        length = expected.float().norm(dim=-1).clamp(min=1e-20)
        error = float(((got.float() - expected.float()).norm(dim=-1) / length).max())
        if not error <= most:
            return f"{name} differs from the modules' by {error:.3f} of its length"
    return ""


class _Probe:
    """Random tokens in a random cache.

    Args:
        model: Whose tokens.
        cache: Its cache, whose first slots are filled.
        generator: Draws them.
    """

    def __init__(self, model: Transformer, cache: KVCache, generator: torch.Generator) -> None:
        self._vocabulary_size = model.architecture.vocabulary_size
        self._device = model.device
        self._generator = generator
        num_sequences = max(_NUM_PROBED_ROWS) + 2
        num_slots = min(len(cache.blocks[0]) - FIRST_SLOT, num_sequences * 300)
        self._room = num_slots // num_sequences
        for block in cache.blocks:
            block[FIRST_SLOT : FIRST_SLOT + num_slots].normal_(generator=generator)

    def batch(self, num_rows: int, num_lines: int, with_prompts: bool) -> PackedBatch:
        """Returns generating tokens, their sequences of any length, and parts of two prompts."""
        firsts = [FIRST_SLOT + index * self._room for index in range(num_rows)]
        positions = [self._draw(self._room) for _ in firsts]
        slots = [first + position for first, position in zip(firsts, positions, strict=True)]
        spans, ends = [], None
        if with_prompts:
            for index in (num_rows, num_rows + 1):
                first = FIRST_SLOT + index * self._room
                length = min(_PROMPT_TOKENS, self._room)
                start = self._draw(self._room - length + 1)
                spans.append(Span(len(positions), length, first, start + length))
                positions += range(start, start + length)
                slots += range(first + start, first + start + length)
            ends = self._tensor([span.offset + span.length - 1 for span in spans])
        layout = Layout(
            self._tensor(slots),
            self._tensor(positions),
            num_rows,
            max(positions[:num_rows]) + 1,
            spans,
        )
        lines = [self._draw(num_lines) for _ in positions]
        ids = [self._draw(self._vocabulary_size) for _ in positions]
        return PackedBatch(self._tensor(ids), self._tensor(lines), layout, ends)

    def _draw(self, below: int) -> int:
        drawn = torch.randint(below, (1,), generator=self._generator, device=self._generator.device)
        return int(drawn)

    def _tensor(self, values: list[int]) -> torch.Tensor:
        return torch.tensor(values, device=self._device)

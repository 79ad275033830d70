"""The forward pass of fused kernels, for half-precision models on a GPU.

It computes the same as the modules of `model/transformer.py` with the hooks of `steering/hooks.py`,
in fewer and larger kernels: a block is four matrix products, with one kernel between each two.
Residual stream, product and steering are summed before rounding, not rounded after each addition.
For few rows the elementwise parts are fused into the matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import embedding, linear

from triton_models.engine.forward_pass import Residuals
from triton_models.engine.packed_batch import PackedBatch
from triton_models.engine.prompt_scores import PromptScorer
from triton_models.kernels import few_rows
from triton_models.kernels.attention import HeadParameters, attend, rotate_and_store
from triton_models.kernels.block_sizes import (
    DOWN,
    HEAD,
    MAX_FEW_ROWS,
    OUTPUT,
    QUERY_KEY_VALUE,
    attention_splits,
)
from triton_models.kernels.elementwise import add_and_normalize, gate, normalize
from triton_models.kernels.steering import BlockSteering, window_factors
from triton_models.model.attention import KVCache, Layout, PackedAttention
from triton_models.model.linear import Linear
from triton_models.model.transformer import DecoderBlock, Transformer
from triton_models.steering.hooks import ResidualTap
from triton_models.steering.table import SteeringTable


@dataclass(frozen=True, slots=True)
class _Block:
    """The weights of a decoder block."""

    attention_norm: torch.Tensor
    query_key_value: Linear
    heads: HeadParameters
    output: Linear
    mlp_norm: torch.Tensor
    gate_up: Linear
    down: Linear
    deltas: torch.Tensor


class FusedForward:
    """Computes steps of a model whose linear layers are not packed."""

    def __init__(
        self, model: Transformer, cache: KVCache, steering: SteeringTable, context_length: int
    ) -> None:
        self._model = model
        self._architecture = model.architecture
        self._cache = cache
        self._context_length = context_length
        self._epsilon = model.architecture.norm_epsilon
        self._steering = steering
        self.gates = torch.zeros(steering.num_rows, dtype=torch.float32, device=model.device)
        self.records_rules = True
        shape = (len(model.blocks), steering.num_rows, model.architecture.hidden_size)
        kept = torch.empty((2, *shape), dtype=model.dtype, device=model.device)
        self.residuals: Residuals | None = Residuals(*kept)
        rotations = model.rotations[:, :, 1]
        self._blocks = [
            _parts(block, model, rotations, steering.of_block(index))
            for index, block in enumerate(model.blocks)
        ]

    def __call__(
        self,
        batch: PackedBatch,
        tap: ResidualTap | None = None,
        out: torch.Tensor | None = None,
        scorer: PromptScorer | None = None,
    ) -> torch.Tensor:
        """See `ForwardPass`."""
        states = embedding(batch.input_ids, self._model.embedding)
        packed = PackedAttention(self._cache, batch.layout, self._architecture)
        is_few = len(states) <= MAX_FEW_ROWS and not batch.layout.has_prompts
        # A product's programs have parts of a token each, so that they can only add to it.
        if is_few and not batch.has_rules:
            return self._few_rows(states, batch, packed, tap, out)
        return self._many_rows(states, batch, packed, tap, out, scorer)

    def _many_rows(
        self,
        states: torch.Tensor,
        batch: PackedBatch,
        packed: PackedAttention,
        tap: ResidualTap | None,
        out: torch.Tensor | None,
        scorer: PromptScorer | None,
    ) -> torch.Tensor:
        following = [*(block.attention_norm for block in self._blocks[1:]), self._norm]
        normalized = normalize(states, self._blocks[0].attention_norm, self._epsilon)
        lines, positions = batch.steering_lines, batch.layout.positions
        factors = window_factors(self._steering.rules.windows, lines, positions)
        for index, (block, next_norm) in enumerate(zip(self._blocks, following, strict=True)):
            heads = _multiply(normalized, block.query_key_value)
            attended = self._attend(index, block, heads, batch.layout, packed)
            added = _multiply(attended, block.output)
            states, normalized = add_and_normalize(states, added, block.mlp_norm, self._epsilon)
            added = _multiply(gate(_multiply(normalized, block.gate_up)), block.down)
            unsteered, kept = self._kept(index, batch, tap)
            states, normalized = add_and_normalize(
                states,
                added,
                next_norm,
                self._epsilon,
                self._block_steering(index, block, batch, factors),
                kept,
                unsteered,
            )
            _read(tap, index, states, unsteered)
        if scorer is not None:
            scorer.read(normalized, self._logits, self._architecture.vocabulary_size)
        return self._logits(batch.giving(normalized), out)

    def _logits(self, normalized: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Returns the logits, float32 [tokens, vocabulary], of normalized states."""
        weight = self._model.head.weight.t()
        out = self._logits_out(len(normalized), out)
        if out.dtype is normalized.dtype:
            return torch.mm(normalized, weight, out=out)
        return torch.mm(normalized, weight, torch.float32, out=out)

    def _few_rows(
        self,
        states: torch.Tensor,
        batch: PackedBatch,
        packed: PackedAttention,
        tap: ResidualTap | None,
        out: torch.Tensor | None,
    ) -> torch.Tensor:
        multiply, epsilon = few_rows.multiply, self._epsilon
        for index, block in enumerate(self._blocks):
            projection, output, down = block.query_key_value, block.output, block.down
            norm = (block.attention_norm, epsilon)
            heads = multiply(states, projection.weight, projection.bias, QUERY_KEY_VALUE, norm=norm)
            attended = self._attend(index, block, heads, batch.layout, packed)
            states = multiply(attended, output.weight, output.bias, OUTPUT, residual=states)
            norm = (block.mlp_norm, epsilon)
            gated = few_rows.gate_up(states, block.gate_up.weight, block.gate_up.bias, norm)
            unsteered, kept = self._kept(index, batch, tap)
            states = multiply(
                gated,
                down.weight,
                down.bias,
                DOWN,
                residual=states,
                steering=(block.deltas, batch.steering_lines),
                out=kept,
                unsteered=unsteered,
            )
            _read(tap, index, states, unsteered)
        out, norm = self._logits_out(len(states), out), (self._norm, epsilon)
        return multiply(states, self._model.head.weight, None, HEAD, norm=norm, out=out)

    def _attend(
        self,
        index: int,
        block: _Block,
        heads: torch.Tensor,
        layout: Layout,
        packed: PackedAttention,
    ) -> torch.Tensor:
        """Returns the attention of all tokens of a step, [tokens, query heads * head size]."""
        architecture, cache = self._architecture, self._cache.blocks[index]
        heads = heads.view(len(heads), -1, architecture.head_size)
        count = layout.num_generating
        parts = []
        if count:
            num_splits = attention_splits(
                count, architecture.num_key_value_heads, self._context_length
            )
            parts.append(
                attend(
                    heads[:count], layout.positions, layout.slots, cache, block.heads, num_splits
                )
            )
        if layout.has_prompts:
            queries = rotate_and_store(
                heads, count, layout.positions, layout.slots, cache, block.heads
            )
            parts.append(packed.prompts(index, queries))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _block_steering(
        self, index: int, block: _Block, batch: PackedBatch, factors: torch.Tensor
    ) -> BlockSteering:
        rules = self._steering.rules
        return BlockSteering(
            block=index,
            deltas=block.deltas,
            counts=rules.counts[index],
            directions=rules.directions[index],
            bounds=rules.bounds[index],
            gate_blocks=rules.gate_blocks,
            gate_directions=rules.gate_directions,
            thresholds=rules.thresholds,
            lines=batch.steering_lines,
            factors=factors,
            gates=self.gates,
            num_gates=batch.layout.num_generating,
        )

    def _kept(
        self, index: int, batch: PackedBatch, tap: ResidualTap | None
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Returns where to write a block's output, [tokens, hidden size], unsteered and steered.

        `None` where it is not kept.
        """
        count = len(batch.input_ids)
        if self.residuals is not None and not batch.layout.has_prompts:
            unsteered, steered = (each[index, :count] for each in self.residuals)
            if len(steered) == count:
                return unsteered, steered
        if tap is not None and tap.reads_unsteered(index):
            shape = (count, self._architecture.hidden_size)
            return torch.empty(shape, dtype=self._model.dtype, device=self._model.device), None
        return None, None

    @property
    def _norm(self) -> torch.Tensor:
        return self._model.norm.weight

    def _logits_out(self, count: int, out: torch.Tensor | None) -> torch.Tensor:
        if out is not None:
            return out
        shape = (count, self._architecture.vocabulary_size)
        return torch.empty(shape, dtype=torch.float32, device=self._model.device)


def _parts(
    block: nn.Module, model: Transformer, rotations: torch.Tensor, deltas: torch.Tensor
) -> _Block:
    assert isinstance(block, DecoderBlock)
    attention, architecture = block.attention, model.architecture
    normalizes = architecture.qk_norm
    gate_up = block.mlp.gate_up.joined
    assert isinstance(gate_up, Linear)
    return _Block(
        attention_norm=block.attention_norm.weight,
        query_key_value=attention.query_key_value,
        heads=HeadParameters(
            architecture.num_heads,
            rotations,
            attention.query_norm.weight if normalizes else None,
            attention.key_norm.weight if normalizes else None,
            architecture.norm_epsilon,
        ),
        output=attention.output,
        mlp_norm=block.mlp_norm.weight,
        gate_up=gate_up,
        down=block.mlp.down,
        deltas=deltas,
    )


def _read(
    tap: ResidualTap | None, block: int, states: torch.Tensor, unsteered: torch.Tensor | None
) -> None:
    if tap is not None:
        if unsteered is not None:
            tap.read_unsteered(block, unsteered)
        tap.read(block, states)


def _multiply(inputs: torch.Tensor, layer: Linear) -> torch.Tensor:
    return linear(inputs, layer.weight, layer.bias)

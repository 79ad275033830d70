"""What one device does in a step: its share of the model, of the KV cache, and the steering.

Without tensor parallelism the share is all of it.
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

import torch
from transformers import Qwen2ForCausalLM

from triton_models.engine.attention import (
    ATTENTION_CONTEXT,
    ATTENTION_NAME,
    AttentionContext,
    KVCache,
    attends_in_place,
)
from triton_models.engine.decode_graphs import DecodeGraphs
from triton_models.engine.kv_size import head_size, num_key_value_heads
from triton_models.engine.packed_batch import HostBatch, PackedBatch, upload_batch
from triton_models.steering.delta import SteeringDelta
from triton_models.steering.hooks import (
    RESIDUAL_TAP,
    STEERING_ROWS,
    ResidualTap,
    SteeringHooks,
    SteeringTable,
)


@dataclass(frozen=True, slots=True)
class ShardSizes:
    """What a shard makes room for.

    Attributes:
        num_rows: How many requests a batch can hold.
        num_slots: How many tokens of requests the KV cache can hold.
        context_length: The most tokens of a request.
        num_shards: How many devices share the model.
    """

    num_rows: int
    num_slots: int
    context_length: int
    num_shards: int = 1


@dataclass(frozen=True, slots=True)
class SlotCopy:
    """Keys and values to copy within the cache: `length` slots from `source` on to `target` on."""

    source: int
    target: int
    length: int


class ModelShard:
    """Computes packed batches with a model, its KV cache and its steering.

    Args:
        model: A Qwen2 model in evaluation mode, loaded with
            `attn_implementation=ATTENTION_NAME`. It gets permanent hooks.
        dtype: The dtype that the model computes in: the residual stream's.
        sizes: What to make room for.
        cuda_graphs: Whether steps that only generate are replayed as CUDA graphs on a GPU. Those
            of a model that several GPUs share are not: recording their communication is untested.

    Raises:
        ValueError: The model was loaded with another attention implementation.
    """

    def __init__(
        self,
        model: Qwen2ForCausalLM,
        dtype: torch.dtype,
        sizes: ShardSizes,
        cuda_graphs: bool = True,
    ) -> None:
        config = model.config
        if config._attn_implementation != ATTENTION_NAME:
            raise ValueError(
                f"the model's attention is {config._attn_implementation}: load it with "
                f"attn_implementation={ATTENTION_NAME!r}"
            )
        self._model = model
        self._embed = model.get_input_embeddings()
        self.device = model.device
        self.dtype = dtype
        self.vocabulary_size: int = config.vocab_size
        self._cache = KVCache(
            config.num_hidden_layers,
            sizes.num_slots,
            num_key_value_heads(config) // sizes.num_shards,
            head_size(config),
            dtype,
            self.device,
        )
        self._table = SteeringTable(
            config.num_hidden_layers, sizes.num_rows, config.hidden_size, dtype, self.device
        )
        self._hooks = SteeringHooks(model.model.layers, self._table)
        self._masks = dict.fromkeys(config.layer_types or ())
        records = cuda_graphs and sizes.num_shards == 1 and attends_in_place(self.device, dtype)
        self._graphs = (
            DecodeGraphs(self._compute, sizes.num_rows, sizes.context_length, self.device)
            if records
            else None
        )

    def enter_thread(self) -> None:
        """Makes the shard's GPU the current one of the calling thread, which will launch steps."""
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)

    def assign(self, row: int, delta: SteeringDelta) -> None:
        """Makes a row of the batch steer by `delta` from the next step on."""
        self._table.write(row, delta)

    def release(self, row: int) -> None:
        """Makes a row steer by nothing."""
        self._table.clear(row)

    def begin(
        self, copies: SequenceOf[SlotCopy], batch: HostBatch, last_tokens: torch.Tensor
    ) -> PackedBatch:
        """Copies within the cache and brings a step's batch to the device.

        Args:
            copies: What to copy.
            batch: The step's tokens.
            last_tokens: int64 [batch rows], on the device: each row's newest token, which takes
                the place of a token that is still in flight.
        """
        for copy in copies:
            self._cache.copy(copy.source, copy.target, copy.length)
        return upload_batch(batch, last_tokens, self.device)

    def compute(self, batch: PackedBatch, tap: ResidualTap | None = None) -> torch.Tensor:
        """Returns the logits at the batch's `logit_indices`: float32 [indices, vocabulary].

        Raises:
            SteeringNotAppliedError: The forward pass went past a steering hook.
        """
        only_generates = len(batch.logit_indices) == len(batch.decodes) and not batch.prefills
        if self._graphs is not None and tap is None and only_generates:
            return self._graphs.run(batch)
        return self._compute(batch, tap)

    def close(self) -> None:
        """Nothing to end: what a shard holds goes with it."""

    def _compute(self, batch: PackedBatch, tap: ResidualTap | None = None) -> torch.Tensor:
        with self._hooks.watch():
            output = self._model(
                inputs_embeds=self._embed(batch.input_ids).to(self.dtype).unsqueeze(0),
                position_ids=batch.positions.unsqueeze(0),
                attention_mask=self._masks,
                use_cache=False,
                logits_to_keep=batch.logit_indices,
                **{
                    STEERING_ROWS: batch.steering_rows,
                    RESIDUAL_TAP: tap,
                    ATTENTION_CONTEXT: AttentionContext(self._cache, batch),
                },
            )
        logits: torch.Tensor = output.logits[0].float()
        return logits

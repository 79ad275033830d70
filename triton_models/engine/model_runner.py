"""The one part of the engine that touches the device: a step's forward pass and its next tokens."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

import torch
from transformers import Qwen2ForCausalLM

from triton_models.engine.attention import (
    ATTENTION_CONTEXT,
    ATTENTION_NAME,
    AttentionContext,
    KVCache,
)
from triton_models.engine.packed_batch import PackedBatch, pack
from triton_models.engine.sampling import sample
from triton_models.engine.scheduler import Slice
from triton_models.steering.delta import SteeringDelta
from triton_models.steering.hooks import STEERING_ROWS, SteeringHooks, SteeringTable


class ModelRunner:
    """Runs a model over packed batches, with its KV cache and its steering.

    Args:
        model: A Qwen2 model in evaluation mode, loaded with
            `attn_implementation=ATTENTION_NAME`. It gets permanent hooks.
        num_rows: How many requests a batch can hold.
        context_length: The most tokens of a request.
        end_ids: The tokens that end an answer.

    Raises:
        ValueError: The model was loaded with another attention implementation.
    """

    def __init__(
        self, model: Qwen2ForCausalLM, num_rows: int, context_length: int, end_ids: SequenceOf[int]
    ) -> None:
        config = model.config
        if config._attn_implementation != ATTENTION_NAME:
            raise ValueError(
                f"the model's attention is {config._attn_implementation}: load it with "
                f"attn_implementation={ATTENTION_NAME!r}"
            )
        self._model = model
        self.device = model.device
        self.dtype = model.dtype
        self.vocabulary_size: int = config.vocab_size
        head_size = getattr(config, "head_dim", None) or (
            config.hidden_size // config.num_attention_heads
        )
        self._cache = KVCache(
            config.num_hidden_layers,
            num_rows,
            config.num_key_value_heads or config.num_attention_heads,
            context_length,
            head_size,
            self.dtype,
            self.device,
        )
        self._table = SteeringTable(
            config.num_hidden_layers, num_rows, config.hidden_size, self.dtype, self.device
        )
        self._hooks = SteeringHooks(model.model.layers, self._table)
        self._masks = dict.fromkeys(config.layer_types or ())
        self._end_ids = torch.tensor(sorted(end_ids), dtype=torch.int64, device=self.device)

    def assign(self, row: int, delta: SteeringDelta) -> None:
        """Makes a row of the batch steer by `delta` from the next step on."""
        self._table.write(row, delta)

    def release(self, row: int, length: int) -> None:
        """Makes a row steer by nothing and forget what it computed.

        Args:
            row: The row.
            length: How many of its positions may have been computed.
        """
        self._table.clear(row)
        self._cache.clear(row, length)

    @torch.inference_mode()
    def step(self, slices: SequenceOf[Slice]) -> list[int | None]:
        """Computes a step.

        Args:
            slices: What to compute, as `Scheduler.plan` orders it.

        Returns:
            For each slice that reaches its sequence's last token, in order, the next token; or
            `None` where the logits are not finite, as when a steering overflows.

        Raises:
            SteeringNotAppliedError: The forward pass went past a steering hook.
        """
        batch = pack(slices, self.device)
        logits = self._forward(batch)
        if not logits.shape[0]:
            return []
        finite = torch.isfinite(logits).all(dim=-1).tolist()
        if not all(finite):
            logits = torch.nan_to_num(logits)
        sequences = [slice.sequence for slice in slices if slice.reaches_last_token]
        tokens = sample(logits, sequences, self._end_ids)
        return [token if usable else None for token, usable in zip(tokens, finite, strict=True)]

    def _forward(self, batch: PackedBatch) -> torch.Tensor:
        """Returns the logits at the batch's `logit_indices`: float32 [indices, vocabulary]."""
        with self._hooks.watch():
            output = self._model(
                input_ids=batch.input_ids.unsqueeze(0),
                position_ids=batch.positions.unsqueeze(0),
                attention_mask=self._masks,
                use_cache=False,
                logits_to_keep=batch.logit_indices,
                **{
                    STEERING_ROWS: batch.steering_rows,
                    ATTENTION_CONTEXT: AttentionContext(self._cache, batch),
                },
            )
        logits: torch.Tensor = output.logits[0].float()
        return logits

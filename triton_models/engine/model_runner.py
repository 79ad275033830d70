"""The one part of the engine that touches the device: a step's forward pass and its next tokens."""

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
from triton_models.engine.launched_step import GivenTokens, LaunchedStep, ToHost
from triton_models.engine.monitoring import monitored_tokens
from triton_models.engine.packed_batch import PackedBatch, pack, row_of
from triton_models.engine.sampling import Likelihoods, SamplingRow, likelihoods, sample
from triton_models.engine.scheduler import Plan
from triton_models.engine.sequence import Sequence
from triton_models.engine.upload import upload
from triton_models.steering.delta import SteeringDelta
from triton_models.steering.hooks import (
    RESIDUAL_TAP,
    STEERING_ROWS,
    ResidualTap,
    SteeringHooks,
    SteeringTable,
)


@dataclass(frozen=True, slots=True)
class RunnerSizes:
    """What a runner makes room for.

    Attributes:
        num_rows: How many requests a batch can hold.
        num_slots: How many tokens of requests the KV cache can hold.
        context_length: The most tokens of a request.
    """

    num_rows: int
    num_slots: int
    context_length: int


class ModelRunner:
    """Runs a model over packed batches, with its KV cache and its steering.

    Args:
        model: A Qwen2 model in evaluation mode, loaded with
            `attn_implementation=ATTENTION_NAME`. It gets permanent hooks.
        dtype: The dtype that the model computes in: the residual stream's.
        sizes: What to make room for.
        end_ids: The tokens that end an answer.
        cuda_graphs: Whether steps that only generate are replayed as CUDA graphs on a GPU.

    Raises:
        ValueError: The model was loaded with another attention implementation.
    """

    def __init__(
        self,
        model: Qwen2ForCausalLM,
        dtype: torch.dtype,
        sizes: RunnerSizes,
        end_ids: SequenceOf[int],
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
            num_key_value_heads(config),
            head_size(config),
            dtype,
            self.device,
        )
        self._table = SteeringTable(
            config.num_hidden_layers, sizes.num_rows, config.hidden_size, dtype, self.device
        )
        self._hooks = SteeringHooks(model.model.layers, self._table)
        self._masks = dict.fromkeys(config.layer_types or ())
        self._end_ids = torch.tensor(sorted(end_ids), dtype=torch.int64, device=self.device)
        self._last_tokens = torch.zeros(sizes.num_rows, dtype=torch.int64, device=self.device)
        self._graphs = (
            DecodeGraphs(self._compute, sizes.num_rows, sizes.context_length, self.device)
            if cuda_graphs and attends_in_place(self.device, dtype)
            else None
        )

    def enter_thread(self) -> None:
        """Makes the runner's GPU the current one of the calling thread, which will launch steps."""
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)

    def assign(self, row: int, delta: SteeringDelta) -> None:
        """Makes a row of the batch steer by `delta` from the next step on."""
        self._table.write(row, delta)

    def release(self, row: int) -> None:
        """Makes a row steer by nothing."""
        self._table.clear(row)

    @torch.inference_mode()
    def launch(self, plan: Plan) -> LaunchedStep:
        """Starts a step; on a GPU it goes on while the caller does other things.

        Args:
            plan: What to copy and compute.

        Raises:
            SteeringNotAppliedError: The forward pass went past a steering hook.
        """
        for copy in plan.copies:
            target = copy.sequence.extent
            if target is not None:
                self._cache.copy(copy.source.start, target.start, copy.length)
        batch = pack(plan.slices, self._last_tokens, self.device)
        monitored = monitored_tokens(plan.slices)
        tap = monitored.tap(self.device)
        logits = self._forward(batch, tap)
        to_host = ToHost(self.device)
        products = to_host.copy(monitored.project(tap)) if tap else None
        giving = [each.sequence for each in plan.slices if each.gives_token]
        given = self._sample(logits, giving, to_host) if giving else None
        to_host.seal()
        return LaunchedStep(to_host, given, monitored, products)

    def _sample(
        self, logits: torch.Tensor, sequences: SequenceOf[Sequence], to_host: ToHost
    ) -> GivenTokens:
        sums = logits.sum(dim=-1)
        reported = [
            index
            for index, sequence in enumerate(sequences)
            if sequence.request.logprobs is not None
        ]
        places = upload(reported, self.device)
        unchanged = logits[places] if reported else None
        rows = upload([row_of(sequence) for sequence in sequences], self.device)
        tokens = sample(logits, self._sampling_rows(sequences), self._end_ids)
        self._last_tokens[rows] = tokens
        likely = None
        if unchanged is not None:
            num_top = max(sequences[index].request.logprobs or 0 for index in reported)
            likely = likelihoods(unchanged, tokens[places], num_top)
            likely = Likelihoods(
                to_host.copy(likely.chosen), to_host.copy(likely.top_ids), to_host.copy(likely.top)
            )
        return GivenTokens(sequences, to_host.copy(tokens), to_host.copy(sums), reported, likely)

    def _sampling_rows(self, sequences: SequenceOf[Sequence]) -> list[SamplingRow]:
        # This step's own token is in flight already; one more is the step's before it.
        return [
            SamplingRow(sequence, self._last_tokens[row_of(sequence) : row_of(sequence) + 1])
            if sequence.num_in_flight > 1
            else SamplingRow(sequence)
            for sequence in sequences
        ]

    def _forward(self, batch: PackedBatch, tap: ResidualTap | None) -> torch.Tensor:
        """Returns the logits at the batch's `logit_indices`: float32 [indices, vocabulary]."""
        only_generates = len(batch.logit_indices) == len(batch.decodes) and not batch.prefills
        if self._graphs is not None and tap is None and only_generates:
            return self._graphs.run(batch)
        return self._compute(batch, tap)

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

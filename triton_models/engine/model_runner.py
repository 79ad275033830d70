"""A step from its plan to its next tokens: the forward pass, sampling, and what is read of it."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from triton_models.engine.decode_graphs import DecodeGraphs
from triton_models.engine.launched_step import GivenTokens, LaunchedStep, ToHost
from triton_models.engine.monitoring import monitored_tokens
from triton_models.engine.packed_batch import (
    PackedBatch,
    RowTable,
    generating_batch,
    join,
    positions_to_choose,
    prompt_batch,
    row_of,
)
from triton_models.engine.sampling import Likelihoods, likelihoods
from triton_models.engine.sampling_table import SamplingTable
from triton_models.engine.scheduler import Plan
from triton_models.engine.sequence import Sequence
from triton_models.model.attention import KVCache, PackedAttention
from triton_models.model.transformer import ForwardContext, Transformer
from triton_models.model.upload import upload
from triton_models.steering.hooks import ResidualTap, SteeringHooks, SteeringTable


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
    """Runs steps of a model on its device; nothing else touches that.

    Args:
        model: The model. It gets permanent hooks.
        sizes: What to make room for.
        end_ids: The tokens that end an answer.
        cuda_graphs: Whether steps that only generate are replayed as CUDA graphs on a GPU.
    """

    def __init__(
        self,
        model: Transformer,
        sizes: RunnerSizes,
        end_ids: SequenceOf[int],
        *,
        cuda_graphs: bool = True,
    ) -> None:
        self._model = model
        self.device = model.device
        self.dtype = model.dtype
        self.vocabulary_size = model.architecture.vocabulary_size
        self._cache = KVCache(model.architecture, sizes.num_slots, self.dtype, self.device)
        self._steering = SteeringTable(
            len(model.blocks),
            sizes.num_rows,
            model.architecture.hidden_size,
            self.dtype,
            self.device,
        )
        self._hooks = SteeringHooks(model.blocks, self._steering)
        self._rows = RowTable(sizes.num_rows)
        self._sampling = SamplingTable(sizes.num_rows, sizes.context_length, end_ids, self.device)
        self._last_tokens = torch.zeros(sizes.num_rows, dtype=torch.int64, device=self.device)
        self._graphs = (
            DecodeGraphs(
                self._compute_generating, sizes.num_rows, sizes.context_length, self.device
            )
            if cuda_graphs and self._cache.attends_in_place
            else None
        )

    def enter_thread(self) -> None:
        """Makes the GPU the current one of the calling thread, which will launch steps."""
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)

    def assign(self, sequence: Sequence) -> None:
        """Makes a sequence's row of the batch steer and sample as its request wants.

        Raises:
            ValueError: It has no row, or no room in the KV cache.
        """
        row = row_of(sequence)
        self._rows.write(row, sequence)
        self._sampling.write(row, sequence)
        self._steering.write(row, sequence.delta)

    def release(self, row: int) -> None:
        """Makes a row steer by nothing."""
        self._steering.clear(row)

    @torch.inference_mode()
    def launch(self, plan: Plan) -> LaunchedStep:
        """Starts a step; on a GPU it goes on while the caller does other things.

        Args:
            plan: What to copy and compute.

        Raises:
            SteeringNotAppliedError: The forward pass went past a steering hook.
        """
        for copy in plan.copies:
            if target := copy.sequence.extent:
                self._cache.copy(copy.source.start, target.start, copy.length)
        monitored = monitored_tokens(plan.generating)
        tap = monitored.tap(self.device)
        logits = self._logits(plan, tap)
        to_host = ToHost(self.device)
        products = to_host.copy(monitored.project(tap)) if tap else None
        given = self._choose(logits, plan, to_host) if len(logits) else None
        to_host.seal()
        return LaunchedStep(to_host, given, monitored, products)

    def compute(self, batch: PackedBatch, tap: ResidualTap | None = None) -> torch.Tensor:
        """Returns the logits of all that get a token, float32 [tokens, vocabulary].

        Raises:
            SteeringNotAppliedError: The forward pass went past a steering hook.
        """
        attention = PackedAttention(self._cache, batch.layout, self._model.architecture)
        context = ForwardContext(attention, batch.steering_lines, tap)
        with self._hooks.watch():
            states = self._model(batch.input_ids, batch.layout.positions, context)
        if batch.prompt_ends is not None:
            num_generating = batch.layout.num_generating
            states = torch.cat((states[:num_generating], states[batch.prompt_ends]))
        if not len(states):
            return torch.empty((0, self.vocabulary_size), device=self.device)
        return self._model.logits(states)

    def _compute_generating(self, columns: torch.Tensor, longest_reach: int) -> torch.Tensor:
        return self.compute(generating_batch(columns, self._last_tokens, longest_reach))

    def _logits(self, plan: Plan, tap: ResidualTap | None) -> torch.Tensor:
        """Returns the logits for each sequence that gets a token, in the plan's order."""
        batches = []
        if plan.generating:
            rows = _rows_of(plan.generating)
            generating = self._rows.generating(rows, np.array(plan.positions))
            if self._graphs is not None and tap is None and not plan.prompts:
                return self._graphs.run(generating)
            columns = upload(generating.columns, self.device)
            batches.append(generating_batch(columns, self._last_tokens, generating.longest_reach))
        if plan.prompts:
            batches.append(prompt_batch(plan.prompts, self.device))
        return self.compute(batches[0] if len(batches) == 1 else join(*batches), tap)

    def _choose(self, logits: torch.Tensor, plan: Plan, to_host: ToHost) -> GivenTokens:
        sequences = plan.giving
        rows = _rows_of(sequences)
        reported = [
            index
            for index, sequence in enumerate(sequences)
            if sequence.request.logprobs is not None
        ]
        unchanged = logits[upload(reported, self.device)] if reported else None
        tokens, greatest = self._sampling.choose(logits, sequences, rows, positions_to_choose(plan))
        self._last_tokens[upload(rows, self.device)] = tokens
        likely = None
        if unchanged is not None:
            num_top = max(sequences[index].request.logprobs or 0 for index in reported)
            likely = likelihoods(unchanged, tokens[upload(reported, self.device)], num_top)
            likely = Likelihoods(
                to_host.copy(likely.chosen), to_host.copy(likely.top_ids), to_host.copy(likely.top)
            )
        return GivenTokens(
            sequences, to_host.copy(tokens), to_host.copy(greatest), reported, likely
        )


def _rows_of(sequences: SequenceOf[Sequence]) -> NDArray[np.int64]:
    return np.array([sequence.row for sequence in sequences], dtype=np.int64)

"""A step from its plan to its next tokens: the forward pass, sampling, and what is read of it."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

import torch

from triton_models.engine.launched_step import GivenTokens, LaunchedStep, ToHost
from triton_models.engine.model_shard import ModelShard, SlotCopy
from triton_models.engine.monitoring import monitored_tokens
from triton_models.engine.packed_batch import pack, row_of
from triton_models.engine.sampling import Likelihoods, SamplingRow, likelihoods, sample
from triton_models.engine.scheduler import Plan, PrefixCopy
from triton_models.engine.sequence import Sequence
from triton_models.engine.shard_workers import LeadingShard
from triton_models.engine.upload import upload
from triton_models.steering.delta import SteeringDelta


class ModelRunner:
    """Runs steps on the device, or the devices, that have the model.

    Args:
        shard: Computes; it leads the others if several devices share the model.
        num_rows: How many requests a batch can hold.
        end_ids: The tokens that end an answer.
    """

    def __init__(
        self, shard: ModelShard | LeadingShard, num_rows: int, end_ids: SequenceOf[int]
    ) -> None:
        self._shard = shard
        self.device = shard.device
        self.dtype = shard.dtype
        self.vocabulary_size = shard.vocabulary_size
        self._end_ids = torch.tensor(sorted(end_ids), dtype=torch.int64, device=self.device)
        self._last_tokens = torch.zeros(num_rows, dtype=torch.int64, device=self.device)

    def enter_thread(self) -> None:
        """Prepares the calling thread, which will launch steps."""
        self._shard.enter_thread()

    def close(self) -> None:
        """Ends what the devices' other processes do."""
        self._shard.close()

    def assign(self, row: int, delta: SteeringDelta) -> None:
        """Makes a row of the batch steer by `delta` from the next step on."""
        self._shard.assign(row, delta)

    def release(self, row: int) -> None:
        """Makes a row steer by nothing."""
        self._shard.release(row)

    @torch.inference_mode()
    def launch(self, plan: Plan) -> LaunchedStep:
        """Starts a step; on a GPU it goes on while the caller does other things.

        Args:
            plan: What to copy and compute.

        Raises:
            SteeringNotAppliedError: The forward pass went past a steering hook.
            ShardsLostError: Another device of the model's failed.
        """
        copies = [slot_copy for copy in plan.copies if (slot_copy := _slots(copy))]
        batch = self._shard.begin(copies, pack(plan.slices), self._last_tokens)
        monitored = monitored_tokens(plan.slices)
        tap = monitored.tap(self.device)
        logits = self._shard.compute(batch, tap)
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


def _slots(copy: PrefixCopy) -> SlotCopy | None:
    target = copy.sequence.extent
    return SlotCopy(copy.source.start, target.start, copy.length) if target else None

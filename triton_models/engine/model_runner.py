"""Runs a step: from its plan through the forward pass to sampled tokens and readouts."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

import torch

from triton_models.engine.check_replay import probed_sequences, replay_disagreement
from triton_models.engine.choose_forward import choose_forward
from triton_models.engine.decode_graphs import Capture, DecodeGraphs, GraphCapture
from triton_models.engine.gated_tokens import gated_tokens
from triton_models.engine.launched_step import GivenTokens, LaunchedStep, ToHost
from triton_models.engine.monitoring import Monitor
from triton_models.engine.packed_batch import (
    PackedBatch,
    StepSize,
    StepTensors,
    packed_batch,
    row_of,
    rows_of,
)
from triton_models.engine.prompt_graphs import PromptGraphs
from triton_models.engine.prompt_pace import GPU_TOKENS
from triton_models.engine.prompt_scores import PromptScorer, scored_prompts
from triton_models.engine.row_state import RowState
from triton_models.engine.sampling import Likelihoods, likelihoods
from triton_models.engine.sampling_table import SamplingMode, SamplingTable
from triton_models.engine.scheduler import Plan
from triton_models.engine.sequence import Sequence
from triton_models.engine.step import Step
from triton_models.engine.token_masks import Masks
from triton_models.kernels.block_sizes import MAX_FEW_ROWS
from triton_models.model.attention import KVCache, Span, SpanGroup
from triton_models.model.transformer import Transformer
from triton_models.model.upload import upload
from triton_models.steering.hooks import ResidualTap
from triton_models.steering.table import SteeringTable

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunnerSizes:
    """The sizes of a runner's buffers.

    Attributes:
        num_rows: How many requests a batch can hold.
        num_slots: How many tokens of requests the KV cache can hold.
        context_length: The maximum number of tokens of a request.
        prompt_tokens: The maximum number of prompt tokens in a step.
    """

    num_rows: int
    num_slots: int
    context_length: int
    prompt_tokens: int = GPU_TOKENS


class ModelRunner:
    """Runs steps of a model. Nothing else touches the device.

    Args:
        model: The model. It gets permanent hooks.
        sizes: The sizes of the buffers.
        end_ids: The tokens that end an answer.
        cuda_graphs: Whether steps are replayed as CUDA graphs on a GPU.
        fused_kernels: Whether a GPU uses the fused kernels where they fit.
    """

    def __init__(
        self,
        model: Transformer,
        sizes: RunnerSizes,
        end_ids: SequenceOf[int],
        *,
        cuda_graphs: bool = True,
        fused_kernels: bool = True,
    ) -> None:
        self.device = model.device
        self.dtype = model.dtype
        self.vocabulary_size = model.architecture.vocabulary_size
        self.hidden_size = model.architecture.hidden_size
        self.num_layers = model.architecture.num_layers
        self._sizes = sizes
        self._cache = KVCache(model.architecture, sizes.num_slots, self.dtype, self.device)
        self._steering = SteeringTable(
            self.num_layers,
            sizes.num_rows,
            self.hidden_size,
            self.dtype,
            self.device,
        )
        self.forward, self.kernels = choose_forward(
            model, self._cache, self._steering, sizes.context_length, fused_kernels
        )
        """The forward pass, and whether it uses the fused kernels."""
        self._state = RowState(sizes.num_rows, self.device)
        self._monitor = Monitor(self.device)
        self._sampling = SamplingTable(
            sizes.num_rows,
            sizes.context_length,
            end_ids,
            self.device,
            fused=self.kernels.fused,
        )
        # A replayed step writes its outputs here; they are valid until the next one.
        self._logits = torch.empty((sizes.num_rows, self.vocabulary_size), device=self.device)
        self._chosen = torch.zeros(sizes.num_rows, dtype=torch.int64, device=self.device)
        self._max_logits = torch.zeros(sizes.num_rows, device=self.device)
        self._graphs: DecodeGraphs | None = None
        self._prompt_graphs: PromptGraphs | None = None
        if cuda_graphs and self._cache.attends_in_place:
            capture = GraphCapture(self.device)
            # First, since the graphs of fewer tokens reuse their memory.
            if self.kernels.fused and not self._try_to_record_prompts(capture):
                capture = GraphCapture(self.device)  # frees the memory of the failed one
            # Without kernels `SamplingMode.ANY` synchronizes with the host, which no graph can.
            modes = SamplingMode if self.kernels.fused else (SamplingMode.GREEDY, SamplingMode.FEW)
            self.record(capture, modes)

    def enter_thread(self) -> None:
        """Makes the model's GPU the current one of the calling thread, which will launch steps."""
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)

    def record(self, capture: Capture, modes: Iterable[SamplingMode] = SamplingMode) -> None:
        """Records decode steps of some sampling modes; from then on they are replayed."""
        self._graphs = DecodeGraphs(
            self._step,
            self._sizes.num_rows,
            self._state.dummy_row,
            self.device,
            modes,
            capture,
        )

    def record_prompts(self, capture: Capture) -> None:
        """Records the forward pass of steps with prompts; from then on it is replayed.

        It needs variable-length attention, whose kernel launches depend on tensors only.
        """
        sizes = self._sizes
        self._prompt_graphs = PromptGraphs(
            self._forward_with_prompts,
            sizes.num_rows,
            sizes.prompt_tokens,
            sizes.context_length,
            self._state.dummy_row,
            self.device,
            capture,
        )

    def _try_to_record_prompts(self, capture: Capture) -> bool:
        try:
            self.record_prompts(capture)
            reason = self._check_replay()
        except Exception as error:  # most likely out of memory
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()  # raises if the GPU's context is broken
            logger.debug("recording steps with prompts failed", exc_info=True)
            reason = str(error) or repr(error)
        if reason:
            self._prompt_graphs = None
            logger.warning("steps with prompts are not replayed, which costs speed: %s", reason)
        return not reason

    def _check_replay(self) -> str:
        sizes, graphs = self._sizes, self._prompt_graphs
        assert graphs is not None
        sequences = probed_sequences(
            sizes.num_rows,
            min(sizes.context_length, sizes.num_slots // sizes.num_rows, graphs.max_tokens // 4),
            self.vocabulary_size,
            self._steering.of_block(0).shape[1],
        )
        reason = replay_disagreement(
            sequences,
            self.assign,
            lambda plan: self.forward(self.batch(plan)),
            lambda plan: self._replayed(graphs, plan),
        )
        for sequence in sequences:
            self.release(row_of(sequence))
        return reason

    def assign(self, sequences: SequenceOf[Sequence]) -> None:
        """Sets up each sequence's row of the batch: its steering, sampling and position.

        Raises:
            ValueError: A sequence has no row, or no extent in the KV cache.
        """
        rows = [row_of(sequence) for sequence in sequences]
        self._state.write(sequences)
        self._sampling.write(rows, sequences)
        self._steering.write(
            rows,
            [sequence.steering for sequence in sequences],
            [sequence.num_prompt_tokens for sequence in sequences],
        )

    def release(self, row: int) -> None:
        """Clears the steering of a row."""
        self._steering.clear(row)

    def forget(self, sequence: Sequence) -> None:
        """Lets go of what a sequence has read that has ended."""
        self._monitor.forget((sequence.readout, sequence.limits))

    @torch.inference_mode()
    def launch(self, plan: Plan, masks: Masks | None = None) -> LaunchedStep:
        """Launches a step; on a GPU it runs asynchronously.

        Args:
            plan: What to copy and compute.
            masks: Returns the masks of the sequences that have formats, if any have; called when
                the forward pass is launched, and may wait.

        Raises:
            SteeringNotAppliedError: The forward pass skipped a steering hook.
        """
        for copy in plan.copies:
            if target := copy.sequence.extent:
                self._cache.copy(copy.source.start, target.start, copy.length)
        monitored = self._monitor.tokens(plan)
        tap = monitored.tap(self.device) if monitored else None
        scored = scored_prompts(plan)
        scorer = PromptScorer(scored, self.device) if scored else None
        step = Step(plan, masks, scorer, self._has_rules(plan))
        to_host = ToHost(self.device)
        launch = self._launch_prompts if plan.prompts else self._launch_generating
        given = launch(step, tap, to_host)
        projections = to_host.copy(monitored.projections(tap)) if monitored and tap else None
        gated = gated_tokens(plan.generating) if step.has_rules else None
        gates = to_host.copy(gated.of(self.forward.gates)) if gated else None
        scores = scorer.scores.moved(to_host.copy) if scorer and scorer.scores else None
        to_host.seal()
        return LaunchedStep(to_host, given, monitored, projections, scored, scores, gated, gates)

    def _launch_generating(
        self, step: Step, tap: ResidualTap | None, to_host: ToHost
    ) -> GivenTokens | None:
        graphs, residuals = self._graphs, self.forward.residuals if tap else None
        count, least = len(step.rows), self._least_rows(step)
        if graphs is None or (tap is not None and residuals is None) or not graphs.holds(least):
            return self._compute(step, tap, to_host)
        # Log-probabilities and masks come in between.
        if step.reported or step.masks or (mode := self._mode(step)) not in graphs.modes:
            graphs.run(step.rows, None, least)
            given = self._choose(self._logits[:count], step, to_host)
        else:
            graphs.run(step.rows, mode, least)
            chosen, max_logits = self._chosen[:count], self._max_logits[:count]
            given = GivenTokens(step.sequences, to_host.copy(chosen), to_host.copy(max_logits))
        if tap is not None and residuals is not None:
            for block, (unsteered, steered) in enumerate(zip(*residuals, strict=True)):
                tap.read_unsteered(block, unsteered)
                tap.read(block, steered)
        return given

    def _launch_prompts(
        self, step: Step, tap: ResidualTap | None, to_host: ToHost
    ) -> GivenTokens | None:
        graphs = self._prompt_graphs
        records = not step.has_rules or self.forward.records_rules
        if graphs is None or tap or step.scorer or not (records and graphs.fits(step.plan)):
            return self._compute(step, tap, to_host)
        return self._choose(self._replayed(graphs, step.plan), step, to_host)

    def _replayed(self, graphs: PromptGraphs, plan: Plan) -> torch.Tensor:
        """Returns the logits of a step with prompts, replayed."""
        graphs.run(plan)
        return self._logits[: len(plan.giving)]

    def _has_rules(self, plan: Plan) -> bool:
        """Whether the steering of any row of a step is more than an addition."""
        rules = self._steering.rules
        return not rules.is_empty and rules.any_of(map(row_of, plan.sequences))

    def _least_rows(self, step: Step) -> int:
        """Returns of how many rows a recorded step must be that can compute this one."""
        if not step.has_rules:
            return 1
        # Recorded for fewer rows, a step is made of kernels that only add.
        return MAX_FEW_ROWS + 1 if self.forward.records_rules else self._sizes.num_rows + 1

    def _step(self, rows: torch.Tensor, mode: SamplingMode | None) -> None:
        """Computes a decode step from the state of its rows on the device."""
        batch = self._generating(rows, self._sizes.context_length)
        logits = self.forward(batch, out=self._logits[: len(rows)])
        if mode is not None:
            places = self._state.positions(rows)
            chosen, max_logits = self._sampling.choose_for_all(logits, rows, places, mode)
            self._state.give(rows, chosen)
            self._chosen[: len(rows)] = chosen
            self._max_logits[: len(rows)] = max_logits

    def _forward_with_prompts(self, tensors: StepTensors, prompt_group: SpanGroup) -> None:
        """Computes the logits of a step with prompts, from tensors alone."""
        batch = self._with_prompts(tensors, self._sizes.context_length, prompt_group=prompt_group)
        self.forward(batch, out=self._logits[: tensors.size.num_last])

    def _compute(self, step: Step, tap: ResidualTap | None, to_host: ToHost) -> GivenTokens | None:
        logits = self.forward(self.batch(step.plan), tap, None, step.scorer)
        return self._choose(logits, step, to_host)

    def batch(self, plan: Plan) -> PackedBatch:
        """Returns the tensors of a step on the device, and advances its generating rows."""
        rows = rows_of(plan.generating)
        max_reach = max(plan.positions, default=-1) + 1
        has_rules = self._has_rules(plan)
        if not plan.prompts:
            return self._generating(upload(rows, self.device), max_reach, has_rules)
        size = StepSize(len(rows), plan.num_tokens - len(rows), len(plan.giving))
        tensors = StepTensors(torch.empty(size.length, dtype=torch.int64), size)
        prompts = tensors.write(rows, plan.prompts)
        tensors = StepTensors(upload(tensors.numbers, self.device), size)
        return self._with_prompts(tensors, max_reach, prompts, has_rules=has_rules)

    def _generating(
        self, rows: torch.Tensor, max_reach: int, has_rules: bool = False
    ) -> PackedBatch:
        """Returns the batch of rows' newest tokens, and advances the rows."""
        return packed_batch(self._take(rows), len(rows), max_reach, has_rules=has_rules)

    def _with_prompts(
        self,
        tensors: StepTensors,
        max_reach: int,
        prompts: SequenceOf[Span] = (),
        prompt_group: SpanGroup | None = None,
        *,
        has_rules: bool = False,
    ) -> PackedBatch:
        """Returns the batch of rows' newest tokens followed by prompts, and advances the rows."""
        columns, num_generating = tensors.columns, len(tensors.rows)
        if num_generating:
            columns = torch.cat((self._take(tensors.rows), columns), dim=1)
        return packed_batch(
            columns,
            num_generating,
            max_reach,
            tensors.last_tokens,
            prompts,
            prompt_group,
            has_rules=has_rules,
        )

    def _take(self, rows: torch.Tensor) -> torch.Tensor:
        """Returns the state of rows, and advances them."""
        columns = self._state.take(rows)
        self._state.advance(rows)
        return columns

    def _mode(self, step: Step) -> SamplingMode:
        return self._sampling.mode(step.rows, step.places)

    def _choose(self, logits: torch.Tensor, step: Step, to_host: ToHost) -> GivenTokens | None:
        if not len(logits):
            return None
        reported = step.reported
        unchanged = logits[upload(reported, self.device)] if reported else None
        if step.masks is not None and (masks := step.masks()) is not None:
            masks.apply(logits)
        rows = upload(step.rows, self.device)
        if self.device.type == "cpu":
            tokens, max_logits = self._sampling.choose_by_kind(logits, step.rows, step.places)
        else:
            places = self._state.positions(rows)
            mode = self._mode(step)
            tokens, max_logits = self._sampling.choose_for_all(logits, rows, places, mode)
        self._state.give(rows, tokens)
        likely = None
        if unchanged is not None:
            num_top = max(step.sequences[index].request.logprobs or 0 for index in reported)
            likely = likelihoods(unchanged, tokens[upload(reported, self.device)], num_top)
            likely = Likelihoods(
                to_host.copy(likely.chosen), to_host.copy(likely.top_ids), to_host.copy(likely.top)
            )
        return GivenTokens(
            step.sequences, to_host.copy(tokens), to_host.copy(max_logits), reported, likely
        )

"""The forward pass of a step: from its tokens to the logits of the positions to sample."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch

from triton_models.engine.packed_batch import PackedBatch
from triton_models.engine.prompt_scores import PromptScorer
from triton_models.model.attention import KVCache, PackedAttention
from triton_models.model.transformer import ForwardContext, Transformer
from triton_models.steering.hooks import ResidualTap, SteeringHooks
from triton_models.steering.table import SteeringTable
from triton_models.steering.token_rules import TokenRules


class Residuals(NamedTuple):
    """The residual stream after each block, [blocks, rows, hidden size], before and after steering.

    It is that of the tokens of the last step without prompts.
    """

    unsteered: torch.Tensor
    steered: torch.Tensor


class ForwardPass(Protocol):
    """The forward pass of a step.

    Attributes:
        residuals: The residual stream of the last step without prompts; `None` if it is not kept.
        gates: float32 [rows or more]: whether conditions let the generating tokens of the last step
            through, 1 or 0; only of tokens that have a condition.
        records_rules: Whether a recorded step follows the rules that rows have when it is replayed.
    """

    residuals: Residuals | None
    gates: torch.Tensor
    records_rules: bool

    def __call__(
        self,
        batch: PackedBatch,
        tap: ResidualTap | None = None,
        out: torch.Tensor | None = None,
        scorer: PromptScorer | None = None,
    ) -> torch.Tensor:
        """Returns the logits of the positions to sample, float32 [positions, vocabulary].

        They are written to `out` if it is given. The tap keeps the hidden states that are wanted,
        the scorer reads the log-probabilities of prompts that are.
        """


class HookedForward:
    """The modules with steering as forward hooks, which stay on the model: runs on any device."""

    def __init__(self, model: Transformer, cache: KVCache, steering: SteeringTable) -> None:
        self.residuals: Residuals | None = None
        self.gates = torch.zeros(0)
        self.records_rules = False
        self._model = model
        self._cache = cache
        self._rules = steering.rules
        self._hooks = SteeringHooks(model.blocks, steering)

    def __call__(
        self,
        batch: PackedBatch,
        tap: ResidualTap | None = None,
        out: torch.Tensor | None = None,
        scorer: PromptScorer | None = None,
    ) -> torch.Tensor:
        """See `ForwardPass`.

        Raises:
            SteeringNotAppliedError: The forward pass skipped a steering hook.
        """
        attention = PackedAttention(self._cache, batch.layout, self._model.architecture)
        positions = batch.layout.positions
        rules = None
        if batch.has_rules:
            rules = TokenRules(self._rules, batch.steering_lines, positions)
            self.gates = rules.gates
        context = ForwardContext(attention, batch.steering_lines, tap, rules)
        with self._hooks.watch():
            states = self._model(batch.input_ids, positions, context)
        if scorer is not None:
            size = self._model.architecture.vocabulary_size
            scorer.read(states, self._model.logits, size)
        states = batch.giving(states)
        if not len(states):
            return torch.empty(
                (0, self._model.architecture.vocabulary_size), device=self._model.device
            )
        logits = self._model.logits(states)
        return logits if out is None else out.copy_(logits)

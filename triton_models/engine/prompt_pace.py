"""How many prompt tokens a step may compute, by how long this machine takes for them.

A step holds up every answer that is being streamed, and requests that have just come. So prompts
are computed in chunks that take about as long as a person does not notice; while nothing is being
generated, in chunks several times as long, since larger ones are computed at a better rate. How
long that is in tokens depends on the model and the machine, and is measured all the time.
"""

from __future__ import annotations

from dataclasses import dataclass

from triton_models.engine.scheduler import Plan

GPU_TOKENS = 2048
"""A GPU's chunk: past it prompts take no less time per token."""

MIN_TOKENS = 64
MAX_TOKENS = 2048

BESIDE_ANSWERS_SECONDS = 0.15
ALONE_SECONDS = 1.0

_MIN_MEASURED_TOKENS = 32
"""Steps with fewer tokens of prompts say how long a step takes at least, not how long these do."""

_WEIGHT = 0.3
"""How much the newest step counts against those before it."""


@dataclass(slots=True)
class PromptPace:
    """The budget of prompt tokens for a step.

    Attributes:
        fixed: The budget, if it does not depend on anything; 0 measures.
        seconds_per_token: What was measured.
    """

    fixed: int = 0
    seconds_per_token: float = BESIDE_ANSWERS_SECONDS / MIN_TOKENS

    def budget(self, anything_generates: bool) -> int:
        """Returns the most prompt tokens of the next step.

        Args:
            anything_generates: Whether answers wait for that step, too.
        """
        if self.fixed:
            return self.fixed
        seconds = BESIDE_ANSWERS_SECONDS if anything_generates else ALONE_SECONDS
        return max(MIN_TOKENS, min(int(seconds / self.seconds_per_token), MAX_TOKENS))

    def measured(self, plan: Plan, seconds: float) -> None:
        """Takes how long a step took.

        Args:
            plan: What it computed.
            seconds: How long its launch took, which on a CPU is all of it.
        """
        if sum(slice.length for slice in plan.prompts) >= _MIN_MEASURED_TOKENS:
            newest = seconds / plan.num_tokens
            self.seconds_per_token += _WEIGHT * (newest - self.seconds_per_token)

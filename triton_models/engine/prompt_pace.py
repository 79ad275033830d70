"""The prefill budget: how many prompt tokens a step may compute, by the machine's measured speed.

A step delays every answer that is being streamed and every new request. So prompts are prefilled in
chunks that are too short for a person to notice; while nothing is being generated, in chunks
several times as long, since larger ones have a higher throughput. How many tokens that is depends
on the model and the machine, and is measured continuously.
"""

from __future__ import annotations

from dataclasses import dataclass

from triton_models.engine.scheduler import Plan

GPU_TOKENS = 2048
"""The chunk on a GPU: larger ones take no less time per token."""

MIN_TOKENS = 64
MAX_TOKENS = 2048

BESIDE_ANSWERS_SECONDS = 0.15
ALONE_SECONDS = 1.0

_MIN_MEASURED_TOKENS = 32
"""In steps with fewer prompt tokens the fixed costs dominate."""

_WEIGHT = 0.3
"""The weight of the newest step in the moving average."""


@dataclass(slots=True)
class PromptPace:
    """The budget of prompt tokens for a step.

    Attributes:
        fixed: A fixed budget; 0 adapts it to the measured speed.
        seconds_per_token: The moving average of the measurements.
    """

    fixed: int = 0
    seconds_per_token: float = BESIDE_ANSWERS_SECONDS / MIN_TOKENS

    def budget(self, anything_generates: bool) -> int:
        """Returns the maximum number of prompt tokens of the next step."""
        if self.fixed:
            return self.fixed
        seconds = BESIDE_ANSWERS_SECONDS if anything_generates else ALONE_SECONDS
        return max(MIN_TOKENS, min(int(seconds / self.seconds_per_token), MAX_TOKENS))

    def measured(self, plan: Plan, seconds: float) -> None:
        """Updates the average after a step; on a CPU its launch takes as long as the whole step."""
        if sum(slice.length for slice in plan.prompts) >= _MIN_MEASURED_TOKENS:
            newest = seconds / plan.num_tokens
            self.seconds_per_token += _WEIGHT * (newest - self.seconds_per_token)

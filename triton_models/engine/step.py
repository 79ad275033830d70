"""What the host knows about a step before it is launched."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from triton_models.engine.prompt_scores import PromptScorer
from triton_models.engine.scheduler import Plan
from triton_models.engine.token_masks import Masks


class Step:
    """A step, and the tokens that it samples.

    Attributes:
        plan: The step's plan.
        masks: As `ModelRunner.launch` takes it.
        scorer: Scores prompts, if any are to be scored.
        has_rules: Whether the steering of any row is more than an addition.
        sequences: The sequences that get a token.
        rows: int64 [tokens]: their rows of the batch.
        places: int64 [tokens]: the positions that the new tokens will have.
        reported: The indices of the sequences that asked for log-probabilities.
    """

    def __init__(
        self, plan: Plan, masks: Masks | None, scorer: PromptScorer | None, has_rules: bool
    ) -> None:
        self.plan = plan
        self.masks = masks
        self.scorer = scorer
        self.has_rules = has_rules
        self.sequences = plan.giving
        self.rows: NDArray[np.int64] = np.array(
            [sequence.row for sequence in self.sequences], dtype=np.int64
        )
        next_ones = [position + 1 for position in plan.positions]
        first_ones = [each.end for each in plan.prompts if each.gives_token]
        self.places: NDArray[np.int64] = np.array([*next_ones, *first_ones], dtype=np.int64)
        self.reported = [
            index
            for index, sequence in enumerate(self.sequences)
            if sequence.request.logprobs is not None
        ]

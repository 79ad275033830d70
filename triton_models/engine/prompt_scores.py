"""The log-probabilities of prompts' tokens, for requests that ask for them.

The model's output layer is applied to some tokens at a time, so that memory is bounded: the logits
of all tokens of a long prompt would take gigabytes.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from math import isfinite

import torch

from triton_models.engine.sampling import Likelihoods, likelihoods
from triton_models.engine.scheduler import Plan, Slice
from triton_models.engine.sequence import PromptTokenLogprobs
from triton_models.model.upload import upload

MAX_LOGITS = 2**24
"""The maximum number of logits to hold at a time: 64 MiB in float32, and twice while they are
normalized."""


@dataclass(frozen=True, slots=True)
class PromptScores:
    """The log-probabilities of some prompt tokens.

    Attributes:
        likely: Those of the tokens, and of the most likely tokens at their places.
        ranks: int64 [tokens]: how many tokens were more likely, plus 1.
    """

    likely: Likelihoods
    ranks: torch.Tensor

    def moved(self, move: Callable[[torch.Tensor], torch.Tensor]) -> PromptScores:
        """Returns the same with each tensor replaced by `move` of it."""
        likely = self.likely
        moved = Likelihoods(move(likely.chosen), move(likely.top_ids), move(likely.top))
        return PromptScores(moved, move(self.ranks))


@dataclass(frozen=True, slots=True)
class ScoredPrompts:
    """The prompt tokens of a step that are scored: each by the position before it.

    Attributes:
        slices: The chunks of prompts whose requests ask for log-probabilities.
        places: The indices of those positions in the packed batch, slice by slice.
        targets: The tokens that follow them.
        num_top: How many of the most likely tokens the requests ask for at most.
    """

    slices: SequenceOf[Slice]
    places: SequenceOf[int]
    targets: SequenceOf[int]
    num_top: int

    def give(self, scores: PromptScores) -> None:
        """Gives the sequences their tokens' log-probabilities; the tensors are on the host."""
        likely = scores.likely
        columns = (likely.chosen, scores.ranks, likely.top_ids, likely.top)
        rows = zip(self.targets, *(column.tolist() for column in columns), strict=True)
        for each in self.slices:
            sequence = each.sequence
            count = sequence.request.prompt_logprobs or 0
            for _ in range(_num_scored(each)):
                token_id, logprob, rank, top_ids, top = next(rows)
                pairs = tuple(zip(top_ids[:count], top[:count], strict=True))
                sequence.prompt_logprobs.append(PromptTokenLogprobs(token_id, logprob, rank, pairs))
                sequence.has_finite_prompt &= isfinite(logprob)


def scored_prompts(plan: Plan) -> ScoredPrompts | None:
    """Returns the prompt tokens of a step that are scored; `None` if there are none."""
    slices: list[Slice] = []
    places: list[int] = []
    targets: list[int] = []
    offset = len(plan.generating)
    for each in plan.prompts:
        count = _num_scored(each)
        if count:
            slices.append(each)
            places += range(offset, offset + count)
            targets += each.sequence.token_ids[each.start + 1 : each.start + 1 + count]
        offset += each.length
    if not slices:
        return None
    num_top = max(each.sequence.request.prompt_logprobs or 0 for each in slices)
    return ScoredPrompts(slices, places, targets, num_top)


def _num_scored(slice: Slice) -> int:
    """Returns how many tokens of a prompt a chunk of it scores."""
    if not slice.sequence.scores_prompt:
        return 0
    return min(slice.length, slice.sequence.num_prompt_tokens - 1 - slice.start)


class PromptScorer:
    """Computes the scores of a step on the device.

    Attributes:
        scores: What was computed.
    """

    def __init__(self, scored: ScoredPrompts, device: torch.device) -> None:
        self.scores: PromptScores | None = None
        self._places = upload(scored.places, device)
        self._targets = upload(scored.targets, device)
        self._num_top = scored.num_top

    def read(
        self,
        states: torch.Tensor,
        logits_of: Callable[[torch.Tensor], torch.Tensor],
        vocabulary_size: int,
    ) -> None:
        """Scores the tokens.

        Args:
            states: The residual stream of the step's tokens after the last block, [tokens, size].
            logits_of: Returns the logits, float32 [some tokens, vocabulary], of some of them.
            vocabulary_size: The number of logits of a token.
        """
        size = max(1, MAX_LOGITS // vocabulary_size)
        pieces = zip(self._places.split(size), self._targets.split(size), strict=True)
        parts = [
            _score(logits_of(states.index_select(0, places)), targets, self._num_top)
            for places, targets in pieces
        ]
        likely = [part.likely for part in parts]
        self.scores = PromptScores(
            Likelihoods(
                torch.cat([each.chosen for each in likely]),
                torch.cat([each.top_ids for each in likely]),
                torch.cat([each.top for each in likely]),
            ),
            torch.cat([part.ranks for part in parts]),
        )


def _score(logits: torch.Tensor, targets: torch.Tensor, num_top: int) -> PromptScores:
    own = logits.gather(1, targets.unsqueeze(1))
    ranks = (logits > own).sum(dim=-1) + 1
    return PromptScores(likelihoods(logits, targets, num_top), ranks)

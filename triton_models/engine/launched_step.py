"""A launched step, and the copy of its results to the host."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from itertools import zip_longest
from math import isfinite

import torch

from triton_models.engine.gated_tokens import GatedTokens
from triton_models.engine.monitoring import MonitoredTokens
from triton_models.engine.prompt_scores import PromptScores, ScoredPrompts
from triton_models.engine.sampling import Likelihoods
from triton_models.engine.sequence import Sequence, TokenLogprobs


class ToHost:
    """Copies the tensors of one step to the host without stalling the device."""

    def __init__(self, device: torch.device) -> None:
        self._event = torch.cuda.Event() if device.type == "cuda" else None

    def copy(self, tensor: torch.Tensor) -> torch.Tensor:
        """Returns a tensor on the host, whose content is valid after `wait`."""
        if self._event is None:
            return tensor
        host = torch.empty_like(tensor, device="cpu", pin_memory=True)
        return host.copy_(tensor, non_blocking=True)

    def seal(self) -> None:
        """Marks that all copies were started."""
        if self._event is not None:
            self._event.record()

    def wait(self) -> None:
        """Waits for the copies."""
        if self._event is not None:
            self._event.synchronize()


@dataclass(frozen=True, slots=True)
class GivenTokens:
    """The tokens that a step sampled; tensors on the host.

    Attributes:
        ids: int64 [sequences]: their next tokens.
        max_logits: float32 [sequences]: their largest logits, not finite if any logit is not.
        reported: The indices of the sequences that asked for log-probabilities.
        likelihoods: The log-probabilities of those, in that order.
    """

    sequences: SequenceOf[Sequence]
    ids: torch.Tensor
    max_logits: torch.Tensor
    reported: SequenceOf[int] = ()
    likelihoods: Likelihoods | None = None


SampledToken = tuple[Sequence, int | None, TokenLogprobs | None]
"""A sequence, its next token (`None` if the logits are not finite, for example because the steering
overflowed), and its log-probabilities, if the request asked for them."""


@dataclass(frozen=True, slots=True)
class LaunchedStep:
    """A step in flight.

    Attributes:
        given: The tokens it sampled, if any.
        monitored: The tokens of monitored requests, if any.
        projections: Their projections, on the host.
        scored: The prompt tokens that it scored, if any.
        scores: Their scores; tensors on the host.
        gated: The tokens of requests with a condition, if any.
        gates: Whether the condition let them through, on the host.
    """

    to_host: ToHost
    given: GivenTokens | None
    monitored: MonitoredTokens | None = None
    projections: torch.Tensor | None = None
    scored: ScoredPrompts | None = None
    scores: PromptScores | None = None
    gated: GatedTokens | None = None
    gates: torch.Tensor | None = None

    def wait(self) -> list[SampledToken]:
        """Waits for the step and returns its tokens; updates readouts, scores and conditions."""
        self.to_host.wait()
        if self.scored is not None and self.scores is not None:
            self.scored.give(self.scores)
        if self.monitored is not None and self.projections is not None:
            self.monitored.give(self.projections)
        if self.gated is not None and self.gates is not None:
            self.gated.give(self.gates)
        if self.given is None:
            return []
        sequences = self.given.sequences
        tokens: list[int | None] = self.given.ids.tolist()
        max_logits = self.given.max_logits.tolist()
        if not all(map(isfinite, max_logits)):
            usable = zip(tokens, max_logits, strict=True)
            tokens = [token if isfinite(largest) else None for token, largest in usable]
        logprobs = _logprobs(self.given)
        likely = [logprobs.get(index) for index in range(len(tokens))] if logprobs else ()
        return list(zip_longest(sequences, tokens, likely))


def _logprobs(given: GivenTokens) -> dict[int, TokenLogprobs]:
    """Returns the log-probabilities of the sequences that asked for them, by index."""
    likely = given.likelihoods
    if likely is None:
        return {}
    reports = {}
    rows = zip(
        given.reported,
        likely.chosen.tolist(),
        likely.top_ids.tolist(),
        likely.top.tolist(),
        strict=True,
    )
    for index, chosen, top_ids, top in rows:
        count = given.sequences[index].request.logprobs or 0
        pairs = zip(top_ids[:count], top[:count], strict=True)
        reports[index] = TokenLogprobs(chosen, tuple(pairs))
    return reports

"""A step that was started, and how its results come to the host."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from itertools import zip_longest
from math import isfinite

import torch

from triton_models.engine.monitoring import MonitoredTokens
from triton_models.engine.sampling import Likelihoods
from triton_models.engine.sequence import Sequence, TokenLogprobs


class ToHost:
    """Brings tensors of one step to the host without making the device wait.

    Args:
        device: Where the tensors are.
    """

    def __init__(self, device: torch.device) -> None:
        self._event = torch.cuda.Event() if device.type == "cuda" else None

    def copy(self, tensor: torch.Tensor) -> torch.Tensor:
        """Returns the tensor on the host; what it holds is there after `wait`."""
        if self._event is None:
            return tensor
        host = torch.empty_like(tensor, device="cpu", pin_memory=True)
        return host.copy_(tensor, non_blocking=True)

    def seal(self) -> None:
        """Says that all copies were started."""
        if self._event is not None:
            self._event.record()

    def wait(self) -> None:
        """Waits until what was copied is there."""
        if self._event is not None:
            self._event.synchronize()


@dataclass(frozen=True, slots=True)
class GivenTokens:
    """What a step gives to the sequences whose last tokens it computed; tensors on the host.

    Attributes:
        sequences: The sequences.
        ids: int64 [sequences]: their next tokens.
        max_logits: float32 [sequences]: their largest logits, not finite where logits are not.
        reported: Which of them asked for log-probabilities, by index.
        likelihoods: Of the reported ones, in that order.
    """

    sequences: SequenceOf[Sequence]
    ids: torch.Tensor
    max_logits: torch.Tensor
    reported: SequenceOf[int] = ()
    likelihoods: Likelihoods | None = None


SampledToken = tuple[Sequence, int | None, TokenLogprobs | None]
"""A sequence, its next token (`None` where the logits were not finite, as when a steering
overflows), and how likely that was, if the sequence's request asks."""


@dataclass(frozen=True, slots=True)
class LaunchedStep:
    """A step under way.

    Attributes:
        to_host: Brings its results.
        given: The tokens it gives, if any.
        monitored: Which tokens monitored requests read in it.
        products: What they read, float32 [blocks, tokens, directions], if anything.
    """

    to_host: ToHost
    given: GivenTokens | None
    monitored: MonitoredTokens
    products: torch.Tensor | None

    def wait(self) -> list[SampledToken]:
        """Waits until the step is done, and returns the tokens it gives.

        Monitored requests have read their part of it then, too.
        """
        self.to_host.wait()
        if self.products is not None:
            self.monitored.give(self.products.numpy())
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
    """Returns by index what the reported sequences asked for."""
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

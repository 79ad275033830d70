"""Choosing the next token from the logits: small functions without state.

Order and meaning of the filters are those of transformers' `generate`: penalties, temperature,
top-k, top-p, min-p. Each request draws from its own random stream, one number per token, so what
else is in the batch does not change what it draws. (It does change the last bits of the logits, so
that two tokens as likely as each other to one part in a million could change places.)
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

import torch

from triton_models.engine.sequence import Sequence
from triton_models.engine.upload import upload
from triton_models.request import SamplingParameters

_NEVER = float("-inf")
_LEAST_TEMPERATURE = 1e-30


@dataclass(frozen=True, slots=True)
class SamplingRow:
    """A row of logits and the sequence that it continues.

    Attributes:
        sequence: The sequence.
        in_flight: int64 [1], on the device: its newest token, if that is not among its known ones.
    """

    sequence: Sequence
    in_flight: torch.Tensor | None = None

    @property
    def num_generated(self) -> int:
        """How many tokens were generated before the one to choose."""
        return self.sequence.num_generated + (self.in_flight is not None)

    def tokens(self, start: int, device: torch.device) -> torch.Tensor:
        """Returns the sequence's tokens from a position on, the newest among them."""
        known = upload(self.sequence.token_ids[start:], device)
        return known if self.in_flight is None else torch.cat([known, self.in_flight])


def sample(
    logits: torch.Tensor, rows: SequenceOf[SamplingRow], end_ids: torch.Tensor
) -> torch.Tensor:
    """Chooses one token for each row.

    Args:
        logits: [rows, vocabulary], float32; changed in place.
        rows: What the logits continue, in their order.
        end_ids: int64 [any]: the tokens that end an answer.

    Returns:
        int64 [rows]: the chosen tokens, on the device.
    """
    for index, row in enumerate(rows):
        penalize(logits[index], row)
        if row.num_generated < row.sequence.request.min_tokens:
            logits[index, end_ids] = _NEVER
    chosen = logits.argmax(dim=-1)
    drawing = [
        index for index, row in enumerate(rows) if row.sequence.request.sampling.temperature > 0
    ]
    for unbounded in (False, True):
        indices = [
            index
            for index in drawing
            if (rows[index].sequence.request.sampling.top_k == 0) == unbounded
        ]
        if indices:
            places = upload(indices, logits.device)
            sequences = [rows[index].sequence for index in indices]
            parameters = [sequence.request.sampling for sequence in sequences]
            draws = [sequence.random.random() for sequence in sequences]
            chosen[places] = draw(logits[places], parameters, draws)
    return chosen


def penalize(logits: torch.Tensor, row: SamplingRow) -> None:
    """Lowers the logits of tokens that the sequence has already, in place.

    Repetition is penalized as in CTRL (Keskar et al. 2019) over prompt and answer; frequency and
    presence as in OpenAI's API, over the answer.

    Args:
        logits: [vocabulary], float32.
        row: What the logits continue.
    """
    sampling = row.sequence.request.sampling
    if sampling.repetition_penalty != 1.0:
        seen = row.tokens(0, logits.device).unique()
        values = logits[seen]
        factor = sampling.repetition_penalty
        logits[seen] = torch.where(values < 0, values * factor, values / factor)
    if (sampling.frequency_penalty or sampling.presence_penalty) and row.num_generated:
        generated = row.tokens(row.sequence.num_prompt_tokens, logits.device)
        tokens, counts = generated.unique(return_counts=True)
        logits[tokens] -= sampling.frequency_penalty * counts + sampling.presence_penalty


def draw(
    logits: torch.Tensor, parameters: SequenceOf[SamplingParameters], draws: SequenceOf[float]
) -> torch.Tensor:
    """Draws one token per row from what temperature, top-k, top-p and min-p leave.

    Args:
        logits: [rows, vocabulary], float32.
        parameters: Each row's parameters, with temperatures above 0.
        draws: Each row's number in [0, 1).

    Returns:
        int64 [rows].
    """

    def column(values: SequenceOf[float]) -> torch.Tensor:
        return upload(values, logits.device, torch.float32).unsqueeze(1)

    vocabulary = logits.shape[-1]
    limits = [min(each.top_k or vocabulary, vocabulary) for each in parameters]
    # Temperature keeps the order, so the candidates can be chosen before it is applied.
    candidates, tokens = logits.topk(max(limits), dim=-1)  # sorted, the most likely first
    # Measured from the largest, so that a low temperature makes no logit infinite but the others.
    candidates = candidates - candidates[:, :1]
    # A temperature that float32 takes for zero would make them none at all.
    candidates = candidates / column(
        [max(each.temperature, _LEAST_TEMPERATURE) for each in parameters]
    )
    ranks = torch.arange(candidates.shape[-1], device=logits.device)
    candidates = candidates.masked_fill(ranks >= column(limits), _NEVER)
    candidates = top_p_filter(candidates, column([each.top_p for each in parameters]))
    candidates = min_p_filter(candidates, column([each.min_p for each in parameters]))
    cumulative = candidates.softmax(dim=-1, dtype=torch.float64).cumsum(dim=-1)
    # The first candidate whose cumulative probability exceeds the draw. Scaling the draw by the
    # total keeps rounding from running past the last candidate that is left.
    targets = column(draws).to(torch.float64) * cumulative[:, -1:]
    picks = torch.searchsorted(cumulative, targets, right=True)
    return tokens.gather(1, picks.clamp_(max=candidates.shape[-1] - 1)).squeeze(1)


@dataclass(frozen=True, slots=True)
class Likelihoods:
    """How likely some rows' chosen tokens and their best alternatives are, on the device.

    Attributes:
        chosen: float32 [rows]: log-probabilities of the chosen tokens.
        top_ids: int64 [rows, most alternatives asked for]: the most likely tokens.
        top: float32, of the same shape: theirs.
    """

    chosen: torch.Tensor
    top_ids: torch.Tensor
    top: torch.Tensor


def likelihoods(logits: torch.Tensor, tokens: torch.Tensor, num_top: int) -> Likelihoods:
    """Works out log-probabilities, natural logarithms of the softmax of unchanged logits.

    Args:
        logits: [rows, vocabulary], float32, as the model gave them.
        tokens: int64 [rows]: the chosen tokens.
        num_top: How many of the most likely tokens to tell.
    """
    logprobs = logits.log_softmax(dim=-1)
    top, top_ids = logprobs.topk(min(num_top, logits.shape[-1]), dim=-1)
    return Likelihoods(logprobs.gather(1, tokens.unsqueeze(1)).squeeze(1), top_ids, top)


def top_p_filter(candidates: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Keeps the fewest most likely tokens that together reach `top_p` (Holtzman et al. 2020).

    Args:
        candidates: [rows, candidates], logits in falling order.
        top_p: [rows, 1].

    Returns:
        The logits, those left out at minus infinity.
    """
    probabilities = candidates.softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities
    outside = before >= top_p
    outside[:, 0] = False
    return candidates.masked_fill(outside & (top_p < 1.0), _NEVER)


def min_p_filter(candidates: torch.Tensor, min_p: torch.Tensor) -> torch.Tensor:
    """Keeps tokens with at least `min_p` of the most likely one's probability (Nguyen et al. 2024).

    Args:
        candidates: [rows, candidates], logits in falling order.
        min_p: [rows, 1].

    Returns:
        The logits, those left out at minus infinity.
    """
    probabilities = candidates.softmax(dim=-1)
    return candidates.masked_fill(probabilities < min_p * probabilities[:, :1], _NEVER)

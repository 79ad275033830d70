"""Choosing the next token from the logits: small functions without state.

Order and meaning of the filters are those of transformers' `generate`: penalties, temperature,
top-k, top-p, min-p. Each request draws from its own random stream, one number per token, so what
else is in the batch does not change what it draws. (It does change the last bits of the logits, so
that two tokens as likely as each other to one part in a million could change places.)
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

import torch

from triton_models.engine.sequence import Sequence
from triton_models.request import SamplingParameters

_NEVER = float("-inf")


def sample(
    logits: torch.Tensor, sequences: SequenceOf[Sequence], end_ids: torch.Tensor
) -> list[int]:
    """Chooses one token for each sequence.

    Args:
        logits: [sequences, vocabulary], float32; changed in place.
        sequences: The sequences, in the order of the logits.
        end_ids: int64 [any]: the tokens that end an answer.

    Returns:
        The chosen tokens.
    """
    for row, sequence in enumerate(sequences):
        penalize(logits[row], sequence)
        if sequence.num_generated < sequence.request.min_tokens:
            logits[row, end_ids] = _NEVER
    chosen = logits.argmax(dim=-1)
    drawing = [
        row for row, sequence in enumerate(sequences) if sequence.request.sampling.temperature > 0
    ]
    for unbounded in (False, True):
        rows = [row for row in drawing if (sequences[row].request.sampling.top_k == 0) == unbounded]
        if rows:
            parameters = [sequences[row].request.sampling for row in rows]
            draws = [sequences[row].random.random() for row in rows]
            chosen[rows] = draw(logits[rows], parameters, draws)
    tokens: list[int] = chosen.tolist()
    return tokens


def penalize(logits: torch.Tensor, sequence: Sequence) -> None:
    """Lowers the logits of tokens that the sequence has already, in place.

    Repetition is penalized as in CTRL (Keskar et al. 2019) over prompt and answer; frequency and
    presence as in OpenAI's API, over the answer.

    Args:
        logits: [vocabulary], float32.
        sequence: The sequence that the logits continue.
    """
    sampling = sequence.request.sampling
    if sampling.repetition_penalty != 1.0:
        seen = torch.tensor(sorted(set(sequence.token_ids)), device=logits.device)
        values = logits[seen]
        factor = sampling.repetition_penalty
        logits[seen] = torch.where(values < 0, values * factor, values / factor)
    if (sampling.frequency_penalty or sampling.presence_penalty) and sequence.num_generated:
        generated = torch.tensor(
            sequence.token_ids[sequence.num_prompt_tokens :], device=logits.device
        )
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
        return torch.tensor(values, device=logits.device).unsqueeze(1)

    vocabulary = logits.shape[-1]
    limits = [min(each.top_k or vocabulary, vocabulary) for each in parameters]
    # Measured from the largest, so that no temperature, however low, makes a logit infinite.
    logits = logits - logits.amax(dim=-1, keepdim=True)
    scaled = logits / column([each.temperature for each in parameters])
    candidates, tokens = scaled.topk(max(limits), dim=-1)  # sorted, the most likely first
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

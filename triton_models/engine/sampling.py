"""Choosing the next token from the logits: functions of tensors, without state.

Order and meaning of the filters are those of transformers' `generate`: penalties, temperature,
top-k, top-p, min-p. Each request draws from its own random stream, one number per token, so what
else is in the batch does not change what it draws. (It does change the last bits of the logits, so
that two tokens as likely as each other to one part in a million could change places.)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

_NEVER = float("-inf")
MIN_TEMPERATURE = 1e-30
"""A temperature that float32 takes for zero would leave no candidate at all."""

MAX_CANDIDATES = 64
"""The largest top-k for which rows draw from candidates: it is cheap to find so many."""

_BLOCK = 64
"""How many neighbouring logits are reduced to their largest in the first pass for top-k."""


@dataclass(frozen=True, slots=True)
class Penalties:
    """How strongly some rows' logits are lowered for tokens that they have already.

    Attributes:
        places: int64 [penalized]: which rows of the logits.
        tokens: int64 [penalized, longest]: each one's tokens, prompt and answer; what stands behind
            them does not count.
        lengths: int64 [penalized]: how many tokens it has.
        prompt_lengths: int64 [penalized]: how many of them are its prompt.
        repetition: float32 [penalized], as in CTRL (Keskar et al. 2019), over prompt and answer;
            `None` if no row has it.
        frequency: float32 [penalized], as in OpenAI's API, over the answer; `None` likewise.
        presence: float32 [penalized], as the frequency.
    """

    places: torch.Tensor
    tokens: torch.Tensor
    lengths: torch.Tensor
    prompt_lengths: torch.Tensor
    repetition: torch.Tensor | None
    frequency: torch.Tensor | None
    presence: torch.Tensor | None


def penalize(logits: torch.Tensor, penalties: Penalties) -> None:
    """Lowers the logits of tokens that rows have already, in place.

    Every occurrence of a token is treated alike, and writes what depends on the logit as it was:
    so it does not matter how often it occurs, but for the frequency penalty, which adds up.

    Args:
        logits: [rows, vocabulary], float32, contiguous.
        penalties: Which, and how.
    """
    flat = logits.view(-1)
    origins = (penalties.places * logits.shape[1]).unsqueeze(1)
    lengths = penalties.lengths.unsqueeze(1)
    ranks = torch.arange(penalties.tokens.shape[1], device=logits.device)
    known = ranks < lengths
    newest = penalties.tokens.gather(1, lengths - 1)
    if penalties.repetition is not None:
        seen = torch.where(known, penalties.tokens, newest).add_(origins)
        values, factor = flat[seen], penalties.repetition.unsqueeze(1)
        flat[seen] = torch.where(values < 0, values * factor, values / factor)
    if penalties.frequency is not None and penalties.presence is not None:
        answered = known & (ranks >= penalties.prompt_lengths.unsqueeze(1))
        said = torch.where(answered, penalties.tokens, newest).add_(origins)
        frequency = answered * -penalties.frequency.unsqueeze(1)
        flat.scatter_add_(0, said.flatten(), frequency.flatten())
        presence = penalties.presence.unsqueeze(1) * answered.any(dim=1, keepdim=True)
        flat[said] = flat[said] - presence


def penalize_rows(
    logits: torch.Tensor,
    rows: torch.Tensor,
    lengths: torch.Tensor,
    tokens: torch.Tensor,
    prompt_lengths: torch.Tensor,
    repetition: torch.Tensor,
    frequency: torch.Tensor,
    presence: torch.Tensor,
) -> None:
    """Penalizes a whole batch, in place: `kernels.penalties.penalize` does the same on a GPU.

    Args:
        logits: [tokens, vocabulary], float32, contiguous.
        rows: int64 [tokens]: each token's row of the tables.
        lengths: int64 [tokens]: how many tokens its row has.
        tokens: int32 [rows, context]: what they are.
        prompt_lengths: int64 [rows]: how many of them are the prompt.
        repetition: float32 [rows]; 1 for none.
        frequency: float32 [rows]; 0 for none.
        presence: float32 [rows]; 0 for none.
    """
    penalties = Penalties(
        torch.arange(len(rows), device=rows.device),
        tokens.index_select(0, rows).long(),
        lengths.clamp(min=1),  # the dummy has no token
        prompt_lengths.index_select(0, rows),
        repetition.index_select(0, rows),
        frequency.index_select(0, rows),
        presence.index_select(0, rows),
    )
    penalize(logits, penalties)


def draw_from_few(
    logits: torch.Tensor,
    temperature: torch.Tensor,
    top_k: torch.Tensor,
    top_p: torch.Tensor,
    min_p: torch.Tensor,
    draws: torch.Tensor,
) -> torch.Tensor:
    """Draws one token per row from what temperature, top-k, top-p and min-p leave.

    Args:
        logits: [rows, vocabulary], float32.
        temperature: float32 [rows, 1], at least `MIN_TEMPERATURE`.
        top_k: int64 [rows, 1]: each row's number of candidates, from 1 to `MAX_CANDIDATES`.
        top_p: float32 [rows, 1]; infinity for all.
        min_p: float32 [rows, 1]; 0 for all.
        draws: float64 [rows, 1]: each row's number in [0, 1).

    Returns:
        int64 [rows], the tokens.
    """
    # Temperature keeps the order, so the candidates can be chosen before it is applied.
    candidates, tokens = largest(logits, min(MAX_CANDIDATES, logits.shape[-1]))
    # Measured from the largest, so that a low temperature makes no logit infinite but the others.
    candidates = (candidates - candidates[:, :1]).div_(temperature)
    ranks = torch.arange(candidates.shape[-1], device=logits.device)
    candidates.masked_fill_(ranks >= top_k, _NEVER)
    probabilities = candidates.softmax(dim=-1)
    left = probabilities.masked_fill(
        outside_top_p(probabilities, top_p) | outside_min_p(probabilities, min_p),
        0.0,
    )
    cumulative = left.cumsum(dim=-1, dtype=torch.float64)
    # The first candidate whose cumulative probability exceeds the draw. Scaling the draw by the
    # total keeps rounding from running past the last candidate that is left.
    picks = torch.searchsorted(cumulative, draws * cumulative[:, -1:], right=True)
    return tokens.gather(1, picks.clamp_(max=candidates.shape[-1] - 1)).squeeze(1)


def draw_from_all(
    logits: torch.Tensor,
    temperature: torch.Tensor,
    top_k: torch.Tensor,
    top_p: torch.Tensor,
    min_p: torch.Tensor,
    draws: torch.Tensor,
) -> torch.Tensor:
    """Draws one token per row from the whole vocabulary, or most of it.

    A token is left if fewer than `top_k` are likelier, and those that are sum to less than `top_p`
    of what top-k leaves, and it has `min_p` of the likeliest one's probability: so tokens as likely
    as each other stay or go together. The draw runs through those left in the vocabulary's order,
    which needs no sorting: `kernels.draw_from_all` does the same on a GPU.

    Args:
        logits: [rows, vocabulary], float32.
        temperature: float32 [rows, 1], at least `MIN_TEMPERATURE`.
        top_k: int64 [rows, 1]: each row's number of candidates; 0 for all.
        top_p: float32 [rows, 1]; infinity for all.
        min_p: float32 [rows, 1]; 0 for all.
        draws: float64 [rows, 1]: each row's number in [0, 1).

    Returns:
        int64 [rows], the tokens; any of the vocabulary where logits are not finite.
    """
    max_logits = logits.amax(dim=-1, keepdim=True)
    # Measured from the largest, so that a low temperature makes no logit infinite but the others.
    weights = (logits - max_logits).div_(temperature).exp_()
    left = weights >= min_p
    bounded = ((top_k > 0) | top_p.isfinite()).squeeze(1).nonzero().squeeze(1)
    if len(bounded):  # only they are worth sorting
        min_logit = _min_logit_left(
            logits[bounded], temperature[bounded], top_k[bounded], top_p[bounded]
        )
        left[bounded] &= logits[bounded] >= min_logit
    cumulative = weights.mul_(left).cumsum(dim=-1, dtype=torch.float64)
    picks = torch.searchsorted(cumulative, draws * cumulative[:, -1:], right=True)
    return picks.clamp_(max=logits.shape[-1] - 1).squeeze(1)


def draw_where(
    logits: torch.Tensor,
    wanted: torch.Tensor,
    temperature: torch.Tensor,
    top_k: torch.Tensor,
    top_p: torch.Tensor,
    min_p: torch.Tensor,
    draws: torch.Tensor,
    chosen: torch.Tensor,
) -> None:
    """Draws from the whole vocabulary for some rows of a batch, as `draw_from_all`.

    `kernels.draw_from_all.draw_from_all` does the same on a GPU.

    Args:
        logits: [rows, vocabulary], float32.
        wanted: bool [rows]: which rows.
        temperature: float32 [rows].
        top_k: int64 [rows].
        top_p: float32 [rows].
        min_p: float32 [rows].
        draws: float64 [rows].
        chosen: int64 [rows]: written where it is wanted.
    """
    columns = (each[:, None] for each in (temperature, top_k, top_p, min_p, draws))
    chosen.copy_(torch.where(wanted, draw_from_all(logits, *columns), chosen))


def _min_logit_left(
    logits: torch.Tensor, temperature: torch.Tensor, top_k: torch.Tensor, top_p: torch.Tensor
) -> torch.Tensor:
    """Returns the smallest logit that top-k and top-p leave in each row, float32 [rows, 1].

    Args:
        logits: [rows, vocabulary], float32.
        temperature: float32 [rows, 1].
        top_k: int64 [rows, 1]; 0 for all.
        top_p: float32 [rows, 1]; infinity for all.
    """
    vocabulary = logits.shape[-1]
    falling = logits.sort(dim=-1, descending=True).values
    last = torch.where(top_k > 0, top_k, vocabulary).clamp_(max=vocabulary) - 1
    weights = (falling - falling[:, :1]).div_(temperature).exp_()
    weights.masked_fill_(falling < falling.gather(1, last), 0.0)
    cumulative = weights.cumsum(dim=-1, dtype=torch.float64)
    # Of equal logits the first one counts, which has only larger ones before it. Where the logits
    # are not numbers, or `top_p` is 0, none qualifies: the largest stays.
    qualify = (cumulative - weights) < top_p * cumulative[:, -1:]
    within = qualify.sum(dim=-1, keepdim=True).clamp_(min=1) - 1
    return falling.gather(1, torch.minimum(within, last))


def largest(logits: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns each row's largest logits in falling order, and their places; NaN counts as largest.

    The largest of a vocabulary are among the largest blocks of it, by their own largest: so one
    pass finds few candidates, where `torch.topk` alone takes several times as long on a CPU.

    Args:
        logits: [rows, vocabulary].
        count: How many.
    """
    vocabulary = logits.shape[-1]
    num_blocks = vocabulary // _BLOCK
    if count * 2 > num_blocks:
        return logits.topk(count, dim=-1)
    whole = num_blocks * _BLOCK
    blocks = logits[:, :whole].unflatten(1, (num_blocks, _BLOCK))
    chosen = blocks.amax(dim=-1).topk(count, dim=-1, sorted=False).indices
    places = chosen[:, :, None] * _BLOCK + torch.arange(_BLOCK, device=logits.device)
    rest = torch.arange(whole, vocabulary, device=logits.device).expand(len(logits), -1)
    places = torch.cat((places.flatten(1), rest), dim=1)
    values, order = logits.gather(1, places).topk(count, dim=-1)
    return values, places.gather(1, order)


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


def outside_top_p(probabilities: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Says what is not in the smallest set of most likely tokens that sum to `top_p`.

    Nucleus sampling (Holtzman et al. 2020).

    Args:
        probabilities: [rows, candidates], falling.
        top_p: [rows, 1], above 0; infinity keeps all, which 1 would not where sums are rounded up.

    Returns:
        bool, of the probabilities' shape.
    """
    return probabilities.cumsum(dim=-1).sub_(probabilities) >= top_p


def outside_min_p(probabilities: torch.Tensor, min_p: torch.Tensor) -> torch.Tensor:
    """Says what has less than `min_p` of the most likely one's probability (Nguyen et al. 2024).

    Args:
        probabilities: [rows, candidates], falling.
        min_p: [rows, 1].

    Returns:
        bool, of the probabilities' shape.
    """
    return probabilities < min_p * probabilities[:, :1]

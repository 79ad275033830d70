"""Sampling the next token from the logits: stateless functions of tensors.

The filters and their order are those of transformers' `generate`: biases, penalties, temperature,
top-k, top-p, min-p. Each request has its own random stream, one number per token, so its draws do
not depend on the rest of the batch. (The last bits of the logits do, so two tokens whose
probabilities agree to one part in a million can swap.)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

_NEVER = float("-inf")
MIN_TEMPERATURE = 1e-30
"""A temperature that underflows to zero in float32 would leave no candidate."""

MAX_CANDIDATES = 64
"""The largest top-k for which rows draw from a list of candidates, which is cheap to find."""

_BLOCK = 64
"""How many adjacent logits are reduced to their maximum in the first pass of top-k."""


def add_bias(
    logits: torch.Tensor, places: torch.Tensor, token_ids: torch.Tensor, bias: torch.Tensor
) -> None:
    """Adds to the logits of some tokens, in place.

    Args:
        logits: [rows, vocabulary], float32, contiguous.
        places: int64 [biased]: the rows of the logits.
        token_ids: int64 [biased, tokens]: their tokens; what is added to the same one adds up.
        bias: float32 [biased, tokens]: what to add.
    """
    targets = token_ids + (places * logits.shape[1]).unsqueeze(1)
    logits.view(-1).index_add_(0, targets.flatten(), bias.flatten())


@dataclass(frozen=True, slots=True)
class Penalties:
    """The penalties of some rows for tokens that have occurred.

    Attributes:
        places: int64 [penalized]: the rows of the logits.
        tokens: int64 [penalized, longest]: the tokens of prompt and answer, padded with anything.
        lengths: int64 [penalized]: the number of those tokens.
        prompt_lengths: int64 [penalized]: the number of prompt tokens among them.
        repetition: float32 [penalized], as in CTRL (Keskar et al. 2019), over prompt and answer;
            `None` if no row has it.
        frequency: float32 [penalized], as in OpenAI's API, over the answer; `None` likewise.
        presence: float32 [penalized], likewise.
    """

    places: torch.Tensor
    tokens: torch.Tensor
    lengths: torch.Tensor
    prompt_lengths: torch.Tensor
    repetition: torch.Tensor | None
    frequency: torch.Tensor | None
    presence: torch.Tensor | None


def penalize(logits: torch.Tensor, penalties: Penalties) -> None:
    """Applies penalties to the logits, float32 [rows, vocabulary], contiguous, in place.

    All occurrences of a token write the same value, computed from the original logit, so the number
    of occurrences does not matter, except for the frequency penalty, which adds up.
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
    """Applies penalties to a whole batch, in place; `kernels.penalties.penalize` is its GPU kernel.

    Args:
        logits: [tokens, vocabulary], float32, contiguous.
        rows: int64 [tokens]: the row of the tables for each row of the logits.
        lengths: int64 [tokens]: the number of tokens so far.
        tokens: int32 [rows, context]: the tokens.
        prompt_lengths: int64 [rows]: the number of prompt tokens among them.
        repetition: float32 [rows]; 1 for none.
        frequency: float32 [rows]; 0 for none.
        presence: float32 [rows]; 0 for none.
    """
    penalties = Penalties(
        torch.arange(len(rows), device=rows.device),
        tokens.index_select(0, rows).long(),
        lengths.clamp(min=1),  # the dummy row has no token
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
    """Samples one token per row from its top-k candidates, after top-p and min-p.

    Args:
        logits: [rows, vocabulary], float32.
        temperature: float32 [rows, 1], at least `MIN_TEMPERATURE`.
        top_k: int64 [rows, 1]: from 1 to `MAX_CANDIDATES`.
        top_p: float32 [rows, 1]; infinity keeps all.
        min_p: float32 [rows, 1]; 0 keeps all.
        draws: float64 [rows, 1]: uniform random numbers in [0, 1).

    Returns:
        int64 [rows], the tokens.
    """
    # Temperature keeps the order, so the candidates can be chosen before it is applied.
    candidates, tokens = largest(logits, min(MAX_CANDIDATES, logits.shape[-1]))
    # Relative to the largest, so that a low temperature cannot overflow.
    candidates = (candidates - candidates[:, :1]).div_(temperature)
    ranks = torch.arange(candidates.shape[-1], device=logits.device)
    candidates.masked_fill_(ranks >= top_k, _NEVER)
    probabilities = candidates.softmax(dim=-1)
    left = probabilities.masked_fill(
        outside_top_p(probabilities, top_p) | outside_min_p(probabilities, min_p),
        0.0,
    )
    cumulative = left.cumsum(dim=-1, dtype=torch.float64)
    # The first candidate whose cumulative probability exceeds the draw. The draw is scaled by the
    # total, so that rounding cannot push it past the last candidate.
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
    """Samples one token per row from the whole vocabulary, after top-k, top-p and min-p.

    A token is kept if fewer than `top_k` tokens are more likely, if the probabilities of those sum
    to less than `top_p` of what top-k keeps, and if its own is at least `min_p` of the largest: so
    ties are kept or dropped together. The kept tokens are sampled in the vocabulary's order, which
    needs no sorting; `kernels.draw_from_all` is its GPU kernel.

    The arguments are those of `draw_from_few`, but a `top_k` of 0 keeps all.

    Returns:
        int64 [rows], the tokens; an arbitrary token where logits are not finite.
    """
    max_logits = logits.amax(dim=-1, keepdim=True)
    # Relative to the largest, so that a low temperature cannot overflow.
    weights = (logits - max_logits).div_(temperature).exp_()
    left = weights >= min_p
    bounded = ((top_k > 0) | top_p.isfinite()).squeeze(1).nonzero().squeeze(1)
    if len(bounded):  # only these rows need sorting
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
    """Samples the rows that are `wanted`, bool [rows], as `draw_from_all` does.

    Its arguments are [rows] here. The tokens are written to `chosen`, int64 [rows].
    `kernels.draw_from_all.draw_from_all` is its GPU kernel.
    """
    columns = (each[:, None] for each in (temperature, top_k, top_p, min_p, draws))
    chosen.copy_(torch.where(wanted, draw_from_all(logits, *columns), chosen))


def _min_logit_left(
    logits: torch.Tensor, temperature: torch.Tensor, top_k: torch.Tensor, top_p: torch.Tensor
) -> torch.Tensor:
    """Returns the smallest logit that top-k and top-p keep in each row, float32 [rows, 1]."""
    vocabulary = logits.shape[-1]
    falling = logits.sort(dim=-1, descending=True).values
    last = torch.where(top_k > 0, top_k, vocabulary).clamp_(max=vocabulary) - 1
    weights = (falling - falling[:, :1]).div_(temperature).exp_()
    weights.masked_fill_(falling < falling.gather(1, last), 0.0)
    cumulative = weights.cumsum(dim=-1, dtype=torch.float64)
    # Of equal logits the first counts, which has only larger ones before it. If the logits are NaN
    # or `top_p` is 0, none qualifies and the largest is kept.
    qualify = (cumulative - weights) < top_p * cumulative[:, -1:]
    within = qualify.sum(dim=-1, keepdim=True).clamp_(min=1) - 1
    return falling.gather(1, torch.minimum(within, last))


def largest(logits: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns each row's largest logits in descending order, and their indices; NaN is the largest.

    The top `count` logits lie in the `count` blocks with the largest maxima, which one pass finds;
    `torch.topk` over the whole vocabulary takes several times as long on a CPU.
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
    """Log-probabilities of sampled tokens and of the most likely tokens, on the device.

    Attributes:
        chosen: float32 [rows]: the log-probabilities of the sampled tokens.
        top_ids: int64 [rows, num_top]: the most likely tokens.
        top: float32 [rows, num_top]: their log-probabilities.
    """

    chosen: torch.Tensor
    top_ids: torch.Tensor
    top: torch.Tensor


def likelihoods(logits: torch.Tensor, tokens: torch.Tensor, num_top: int) -> Likelihoods:
    """Returns log-probabilities: the natural logarithm of the softmax of the original logits.

    The logits, float32 [rows, vocabulary], are those before penalties and filters; `num_top` of the
    most likely tokens are reported.
    """
    logprobs = logits.log_softmax(dim=-1)
    top, top_ids = logprobs.topk(min(num_top, logits.shape[-1]), dim=-1)
    return Likelihoods(logprobs.gather(1, tokens.unsqueeze(1)).squeeze(1), top_ids, top)


def outside_top_p(probabilities: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Marks all but the smallest set of most likely tokens whose probabilities sum to `top_p`.

    Nucleus sampling (Holtzman et al. 2020) of [rows, candidates], descending. A `top_p` of infinity
    keeps all, which 1 would not if a sum is rounded up.
    """
    return probabilities.cumsum(dim=-1).sub_(probabilities) >= top_p


def outside_min_p(probabilities: torch.Tensor, min_p: torch.Tensor) -> torch.Tensor:
    """Marks tokens less likely than `min_p` times the most likely one (Nguyen et al. 2024).

    The probabilities, [rows, candidates], are descending.
    """
    return probabilities < min_p * probabilities[:, :1]

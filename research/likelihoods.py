"""The log-probabilities of responses after their prompts, each prompt computed once for all of its.

A judge reads many answers to the same question, and an evaluation has many answers to it too. So a
prompt is packed once and the responses after it; each of these attends to the prompt and to itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from operator import itemgetter

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

from persona_research.plain_pass import PASS_TOKENS, Call, Pair, check_lengths, in_batches
from persona_research.progress import OnDone
from triton_models.model.architecture import Architecture
from triton_models.model.loading import LoadedModel
from triton_models.model.transformer import ForwardContext
from triton_models.steering.table import UNSTEERED_LINE


def log_likelihoods(
    loaded: LoadedModel, pairs: Sequence[Pair], on_done: OnDone, call: Call[Sequence[float]]
) -> list[float]:
    """Returns each response's log-probability after its prompt, in nats; an empty one's is 0.

    Raises:
        ValueError: A pair is longer than the model's context.
    """
    check_lengths(pairs, loaded.context_length)
    return in_batches(pairs, _batches(pairs), partial(_totals, loaded), 0.0, call, on_done)


def _batches(pairs: Sequence[Pair]) -> Iterator[list[int]]:
    """Indices of pairs, those of one prompt side by side: `PASS_TOKENS` or a single pair."""
    by_prompt: dict[tuple[int, ...], list[int]] = {}
    for place, (prompt, response) in enumerate(pairs):
        if response:
            by_prompt.setdefault(tuple(prompt), []).append(place)
    batch: list[int] = []
    num_tokens = 0
    for asked, places in by_prompt.items():
        is_packed = False
        for place in places:
            added = len(pairs[place][1]) + (0 if is_packed else len(asked))
            if batch and num_tokens + added > PASS_TOKENS:
                yield batch
                batch, num_tokens = [], 0
                added = len(pairs[place][1]) + len(asked)
            batch.append(place)
            num_tokens += added
            is_packed = True
    if batch:
        yield batch


@torch.inference_mode()
def _totals(loaded: LoadedModel, pairs: Sequence[Pair]) -> list[float]:
    """The log-probability of each response; those of one prompt stand side by side."""
    model = loaded.model
    prompts: list[list[int]] = []
    responses: list[list[list[int]]] = []
    for prompt, same in groupby(pairs, key=itemgetter(0)):
        prompts.append(prompt)
        responses.append([response for _, response in same])
    ids: list[int] = []
    positions: list[int] = []
    for prompt, group in zip(prompts, responses, strict=True):
        ids += prompt
        positions += range(len(prompt))
        for response in group:
            ids += response
            positions += range(len(prompt), len(prompt) + len(response))
    shapes = [
        (len(prompt), [len(response) for response in group])
        for prompt, group in zip(prompts, responses, strict=True)
    ]
    states = model(
        torch.tensor(ids, device=model.device),
        torch.tensor(positions, device=model.device),
        ForwardContext(
            _SharedPrompts(shapes, model.architecture, model.device),
            torch.full((len(ids),), UNSTEERED_LINE, device=model.device),
        ),
    )
    totals = []
    start = 0
    for prompt, group in zip(prompts, responses, strict=True):
        last = states[start + len(prompt) - 1]
        start += len(prompt)
        for response in group:
            before = torch.cat((last[None], states[start : start + len(response) - 1]))
            start += len(response)
            # One response at a time: a real vocabulary makes a batch's logits enormous.
            logits = model.logits(before)
            targets = torch.tensor(response, device=logits.device)
            totals.append(-float(cross_entropy(logits, targets, reduction="sum")))
    return totals


class _SharedPrompts:
    """Causal attention of packed prompts, each followed by its responses.

    Args:
        shapes: The length of each prompt, and those of its responses.
    """

    def __init__(
        self,
        shapes: Sequence[tuple[int, list[int]]],
        model: Architecture,
        device: torch.device,
    ) -> None:
        self._sizes = [model.num_heads, model.num_key_value_heads, model.num_key_value_heads]
        self._prompts = [prompt for prompt, _ in shapes]
        self._lengths = [prompt + sum(responses) for prompt, responses in shapes]
        self._rows = [_rows(prompt, responses).to(device) for prompt, responses in shapes]
        self._masks = [
            torch.ones(rows.shape[1], prompt + rows.shape[1], dtype=torch.bool, device=device).tril(
                prompt
            )
            for prompt, rows in zip(self._prompts, self._rows, strict=True)
        ]

    def __call__(self, block: int, heads: Tensor) -> Tensor:
        """See `transformer.Attend`."""
        attended = []
        for group, prompt, rows, mask in zip(
            heads.split(self._lengths), self._prompts, self._rows, self._masks, strict=True
        ):
            first = group[:prompt].transpose(0, 1).unsqueeze(0).split(self._sizes, dim=1)
            attended.append(_merged(first[0], first[1], first[2])[0])
            # Rows are filled up with the prompt's first token: what comes of it is left out.
            queries, keys, values = group[rows].transpose(1, 2).split(self._sizes, dim=1)
            whole = [
                torch.cat((shared.expand(len(rows), -1, -1, -1), own), dim=2)
                for shared, own in zip(first[1:], (keys, values), strict=True)
            ]
            attended.append(_merged(queries, whole[0], whole[1], mask)[rows > 0])
        return torch.cat(attended)


def _rows(prompt: int, responses: Sequence[int]) -> Tensor:
    """Where in their group responses are, int64 [responses, longest]; 0, the prompt's, fills up."""
    rows = torch.zeros(len(responses), max(responses), dtype=torch.int64)
    start = prompt
    for row, length in zip(rows, responses, strict=True):
        row[:length] = torch.arange(start, start + length)
        start += length
    return rows


def _merged(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention, [rows, length, heads * head size], of [rows, heads, length, head size]."""
    attended = scaled_dot_product_attention(
        queries, keys, values, attn_mask=mask, is_causal=mask is None, enable_gqa=True
    )
    return attended.transpose(1, 2).flatten(2)

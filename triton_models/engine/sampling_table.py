"""The sampling parameters of each row of the batch, on the device.

They are written when a request gets a row, with all its random numbers, which follow from its seed;
steps read them by row, so that nothing has to be sent with a step.

Tokens are sampled in two ways with the same results. All rows at once, with every filter, takes no
decision on the host, as a CUDA graph requires. Kind by kind, each row is computed with the filters
it needs only, which is fastest on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from enum import Enum

import numpy as np
import torch
from numpy.typing import NDArray

from triton_models.contract.logit_bias import MAX_BIASED_TOKENS, LogitBias
from triton_models.engine.sampling import (
    MAX_CANDIDATES,
    MIN_TEMPERATURE,
    Penalties,
    add_bias,
    draw_from_all,
    draw_from_few,
    draw_where,
    penalize,
    penalize_rows,
)
from triton_models.engine.sequence import Sequence
from triton_models.model.upload import upload

_AMOUNTS = (
    "temperature",
    "top_p",
    "min_p",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
)
_TEMPERATURE, _TOP_P, _MIN_P, _REPETITION, _FREQUENCY, _PRESENCE = range(len(_AMOUNTS))
_NEUTRAL = (1.0, float("inf"), 0.0, 1.0, 0.0, 0.0)

_KIND, _TOP_K, _PROMPT_LENGTH, _FIRST_END = range(4)
"""The integers of each row: its kind, its top-k, the length of its prompt, and the first position
at which an end token is allowed."""

_GREEDY, _FEW, _ALL = range(3)
"""A row's kind: greedy, sampling from few candidates, or sampling from the whole vocabulary."""

_NEVER = float("-inf")


class SamplingMode(Enum):
    """What the rows of a step need."""

    GREEDY = 0
    """All rows are greedy."""

    FEW = 1
    """Some rows sample, from few candidates."""

    ANY = 2
    """Some rows sample from the whole vocabulary, have penalties or biases, or must not end yet."""


class SamplingTable:
    """The rows' sampling parameters, random numbers, biases, and tokens for penalties.

    A dummy row follows the rows of requests. `fused` uses the GPU kernels.
    """

    def __init__(
        self,
        num_rows: int,
        context_length: int,
        end_ids: SequenceOf[int],
        device: torch.device,
        *,
        fused: bool = False,
    ) -> None:
        self._device = device
        self._end_ids = torch.tensor(sorted(end_ids), dtype=torch.int64, device=device)
        num_rows += 1
        self._amounts = torch.tensor(_NEUTRAL, device=device)[:, None].repeat(1, num_rows)
        """float32 [amounts, rows]."""
        self._counts = torch.zeros((4, num_rows), dtype=torch.int64, device=device)
        # On a CPU, pages that are never written take no memory.
        shape = (num_rows, context_length)
        self._draws = torch.zeros(shape, dtype=torch.float64, device=device)
        """For each row and position, the random number that samples the token there."""
        self._tokens = torch.zeros(shape, dtype=torch.int32, device=device)
        """The tokens of penalized rows."""
        shape = (num_rows, MAX_BIASED_TOKENS)
        self._biased_ids = torch.zeros(shape, dtype=torch.int64, device=device)
        self._biases = torch.zeros(shape, device=device)
        """What to add to the logits of those tokens; rows are padded with tokens that get 0."""
        self._kinds = np.zeros(num_rows, dtype=np.int64)
        self._first_ends = np.zeros(num_rows, dtype=np.int64)
        self._is_penalized = np.zeros(num_rows, dtype=bool)
        self._is_biased = np.zeros(num_rows, dtype=bool)
        self._penalize_rows: Callable[..., None] = penalize_rows
        self._draw_where: Callable[..., None] = draw_where
        if fused:
            from triton_models.kernels import draw_from_all, penalties

            self._penalize_rows = penalties.penalize
            self._draw_where = draw_from_all.draw_from_all

    def write(self, rows: SequenceOf[int], sequences: SequenceOf[Sequence]) -> None:
        """Sets the sampling parameters of rows from the requests of sequences."""
        written = [self._write(row, each) for row, each in zip(rows, sequences, strict=True)]
        amounts, counts = zip(*written, strict=True)
        places = upload(rows, self._device)
        values = upload(np.stack(amounts, axis=1), self._device, torch.float32)
        self._amounts.index_copy_(1, places, values)
        self._counts.index_copy_(1, places, upload(np.stack(counts, axis=1), self._device))

    def _write(self, row: int, sequence: Sequence) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Returns the amounts and counts of one row, and writes its random numbers and tokens."""
        sampling = sequence.request.sampling
        length = sequence.num_prompt_tokens
        amounts = np.array([getattr(sampling, name) for name in _AMOUNTS], dtype=np.float32)
        # Greedy rows need a valid temperature as well, though its result is not used.
        amounts[_TEMPERATURE] = max(sampling.temperature, MIN_TEMPERATURE)
        if sampling.top_p >= 1:
            amounts[_TOP_P] = np.inf
        kind = _GREEDY
        if sampling.temperature > 0 and sampling.top_p > 0:
            kind = _FEW if 1 <= sampling.top_k <= MAX_CANDIDATES else _ALL
        first_end = length + sequence.request.min_tokens
        self._kinds[row] = kind
        self._first_ends[row] = first_end
        self._is_penalized[row] = tuple(amounts[_REPETITION:].tolist()) != _NEUTRAL[_REPETITION:]
        if kind != _GREEDY:
            draws = np.random.Generator(np.random.PCG64(sampling.seed)).random(sequence.max_tokens)
            ahead = self._draws[row, length : length + len(draws)]
            ahead.copy_(upload(draws[: len(ahead)], self._device, torch.float64))
        if self._is_penalized[row]:
            prompt = sequence.token_ids[:length]
            self._tokens[row, :length] = upload(prompt, self._device, torch.int32)
        self._write_bias(row, sampling.logit_bias)
        return amounts, np.array((kind, sampling.top_k, length, first_end), dtype=np.int64)

    def _write_bias(self, row: int, bias: LogitBias) -> None:
        if bias or self._is_biased[row]:
            token_ids, biases = np.zeros(MAX_BIASED_TOKENS, np.int64), np.zeros(MAX_BIASED_TOKENS)
            if bias:
                token_ids[: len(bias)], biases[: len(bias)] = zip(*bias, strict=True)
            self._biased_ids[row] = upload(token_ids, self._device)
            self._biases[row] = upload(biases, self._device, torch.float32)
        self._is_biased[row] = bool(bias)

    def mode(self, rows: NDArray[np.int64], places: NDArray[np.int64]) -> SamplingMode:
        """Returns the sampling mode for rows, whose new tokens will have the positions `places`."""
        kind = self._kinds[rows].max()
        if (
            kind == _ALL
            or self._is_penalized[rows].any()
            or self._is_biased[rows].any()
            or (places < self._first_ends[rows]).any()
        ):
            return SamplingMode.ANY
        return SamplingMode.FEW if kind == _FEW else SamplingMode.GREEDY

    def choose_for_all(
        self, logits: torch.Tensor, rows: torch.Tensor, places: torch.Tensor, mode: SamplingMode
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Samples one token for each row of logits, all rows with the same operations.

        Args:
            logits: [tokens, vocabulary], float32; changed in place.
            rows: int64 [tokens], on the device: the rows of the batch.
            places: int64 [tokens], on the device: the positions that the new tokens will have.
            mode: The rows' mode, or a later one of `SamplingMode`.

        Returns:
            int64 [tokens], the tokens, and float32 [tokens], the largest logits, which are not
            finite if any logit is not. Both are on the device.
        """
        if mode is SamplingMode.ANY:
            self._add_bias(logits, torch.arange(len(rows), device=self._device), rows)
            self._penalize_rows(
                logits,
                rows,
                places,
                self._tokens,
                self._counts[_PROMPT_LENGTH],
                *self._amounts[_REPETITION:],
            )
            barred = places < self._counts[_FIRST_END].index_select(0, rows)
            ends = logits.index_select(1, self._end_ids)
            ends.masked_fill_(barred[:, None], _NEVER)
            logits.index_copy_(1, self._end_ids, ends)
        max_logits, chosen = logits.max(dim=-1)
        if mode is SamplingMode.GREEDY:
            return chosen, max_logits
        kinds, top_k, *_ = self._counts.index_select(1, rows)
        temperature, top_p, min_p, *_ = self._amounts.index_select(1, rows)
        draws = self._draws[rows, places]
        columns = (each[:, None] for each in (temperature, top_k, top_p, min_p, draws))
        drawn = draw_from_few(logits, *columns)
        chosen = torch.where(kinds == _FEW, drawn, chosen)
        if mode is SamplingMode.ANY:
            self._draw_where(logits, kinds == _ALL, temperature, top_k, top_p, min_p, draws, chosen)
            self._tokens[rows, places] = chosen.int()
        return chosen, max_logits

    def choose_by_kind(
        self, logits: torch.Tensor, rows: NDArray[np.int64], places: NDArray[np.int64]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Samples one token for each row of logits, with the operations that each row needs.

        See `choose_for_all`; all is on the CPU here.
        """
        biased = np.flatnonzero(self._is_biased[rows])
        if len(biased):
            self._add_bias(logits, torch.from_numpy(biased), torch.from_numpy(rows[biased]))
        penalized = np.flatnonzero(self._is_penalized[rows])
        if len(penalized):
            penalize(logits, self._penalties(penalized, rows[penalized], places[penalized]))
        barred = np.flatnonzero(places < self._first_ends[rows])
        if len(barred):
            logits[torch.from_numpy(barred)[:, None], self._end_ids] = _NEVER
        kinds = self._kinds[rows]
        max_logits, chosen = logits.max(dim=-1)
        for kind, draw in ((_FEW, draw_from_few), (_ALL, draw_from_all)):
            drawing = np.flatnonzero(kinds == kind)
            if len(drawing) == len(rows):
                chosen = draw(logits, *self._drawn(rows, places))
            elif len(drawing):
                indices = torch.from_numpy(drawing)
                chosen[indices] = draw(
                    logits[indices], *self._drawn(rows[drawing], places[drawing])
                )
        if len(penalized):
            self._tokens[torch.from_numpy(rows[penalized]), torch.from_numpy(places[penalized])] = (
                chosen[torch.from_numpy(penalized)].int()
            )
        return chosen, max_logits

    def _add_bias(self, logits: torch.Tensor, places: torch.Tensor, rows: torch.Tensor) -> None:
        token_ids, biases = (
            self._biased_ids.index_select(0, rows),
            self._biases.index_select(0, rows),
        )
        add_bias(logits, places, token_ids, biases)

    def _penalties(
        self, indices: NDArray[np.int64], rows: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> Penalties:
        of_rows = torch.from_numpy(rows)
        amounts = self._amounts[_REPETITION:].index_select(1, of_rows)
        repetition, frequency, presence = amounts
        counts = bool(amounts[1:].any())
        return Penalties(
            torch.from_numpy(indices),
            self._tokens[of_rows, : int(lengths.max())].long(),
            torch.from_numpy(lengths),
            self._counts[_PROMPT_LENGTH].index_select(0, of_rows),
            repetition if (repetition != 1).any() else None,
            frequency if counts else None,
            presence if counts else None,
        )

    def _drawn(
        self, rows: NDArray[np.int64], places: NDArray[np.int64]
    ) -> tuple[torch.Tensor, ...]:
        """Returns temperature, top-k, top-p, min-p and draws of rows, each [rows, 1]."""
        of_rows = torch.from_numpy(rows)
        temperature, top_p, min_p, *_ = self._amounts.index_select(1, of_rows)[:, :, None]
        top_k = self._counts[_TOP_K].index_select(0, of_rows)[:, None]
        draws = self._draws[of_rows, torch.from_numpy(places)][:, None]
        return temperature, top_k, top_p, min_p, draws

"""How each row of the batch wants its tokens chosen.

It is written when a request gets a row, and read in steps as whole columns, so that a step takes
no longer for what its rows ask.
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

import numpy as np
import torch
from numpy.typing import NDArray

from triton_models.engine.sampling import (
    MIN_TEMPERATURE,
    DrawParameters,
    Penalties,
    draw,
    penalize,
)
from triton_models.engine.sequence import Sequence
from triton_models.model.upload import upload

_COLUMNS = (
    "temperature",
    "top_p",
    "min_p",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
)
_TEMPERATURE, _TOP_P, _MIN_P, _REPETITION, _FREQUENCY, _PRESENCE = range(len(_COLUMNS))

_MAX_KEPT = 8
"""How many rows' parameters are kept: a step has rows of two kinds at most."""

_UNPENALIZED = (1.0, 0.0, 0.0)


class SamplingTable:
    """The sampling parameters of all rows, and the tokens of those that are penalized for them.

    Args:
        num_rows: How many requests a batch can hold.
        context_length: The most tokens of a request.
        end_ids: The tokens that end an answer.
        device: Where logits are.
    """

    def __init__(
        self,
        num_rows: int,
        context_length: int,
        end_ids: SequenceOf[int],
        device: torch.device,
    ) -> None:
        self._device = device
        self._end_ids = torch.tensor(sorted(end_ids), dtype=torch.int64, device=device)
        self._values = np.zeros((num_rows, len(_COLUMNS)), dtype=np.float32)
        self._top_k = np.zeros(num_rows, dtype=np.int64)
        self._prompt_lengths = np.zeros(num_rows, dtype=np.int64)
        self._first_end = np.zeros(num_rows, dtype=np.int64)
        """The first position that an end of the answer may have."""
        self._is_penalized = np.zeros(num_rows, dtype=bool)
        self._parameters: dict[bytes, DrawParameters] = {}
        """What was made of the table for the rows of steps before, until a row changes."""
        self._tokens_shape = (num_rows, context_length)
        self._tokens: torch.Tensor | None = None
        """int32 [rows, context]: the tokens of penalized rows; made for the first of them."""

    def write(self, row: int, sequence: Sequence) -> None:
        """Makes a row's tokens be chosen as a sequence's request wants it."""
        sampling = sequence.request.sampling
        self._values[row] = [getattr(sampling, name) for name in _COLUMNS]
        if sampling.temperature > 0:
            self._values[row, _TEMPERATURE] = max(sampling.temperature, MIN_TEMPERATURE)
        if sampling.top_p >= 1:
            self._values[row, _TOP_P] = np.inf
        self._top_k[row] = sampling.top_k
        self._parameters.clear()
        self._prompt_lengths[row] = sequence.num_prompt_tokens
        self._first_end[row] = sequence.num_prompt_tokens + sequence.request.min_tokens
        penalties = tuple(float(value) for value in self._values[row, _REPETITION:])
        self._is_penalized[row] = penalties != _UNPENALIZED
        if self._is_penalized[row]:
            if self._tokens is None:
                self._tokens = torch.zeros(
                    self._tokens_shape, dtype=torch.int32, device=self._device
                )
            prompt = sequence.token_ids[: sequence.num_prompt_tokens]
            self._tokens[row, : len(prompt)] = upload(prompt, self._device, torch.int32)

    def choose(
        self,
        logits: torch.Tensor,
        sequences: SequenceOf[Sequence],
        rows: NDArray[np.int64],
        positions: NDArray[np.int64],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Chooses one token for each row of logits.

        Args:
            logits: [tokens to choose, vocabulary], float32; changed in place.
            sequences: What they continue; each that draws gives one random number.
            rows: int64 [tokens to choose]: the sequences' rows of the batch.
            positions: int64 [tokens to choose]: the positions that the tokens will have.

        Returns:
            int64 [tokens to choose], the tokens, and float32 of the same shape, the largest logits:
            not finite where the logits are not. Both are on the device.
        """
        penalized = np.flatnonzero(self._is_penalized[rows])
        if len(penalized):
            penalize(logits, self._penalties(penalized, rows[penalized], positions[penalized]))
        barred = np.flatnonzero(positions < self._first_end[rows])
        if len(barred):
            logits[upload(barred, self._device)[:, None], self._end_ids] = float("-inf")
        drawing = np.flatnonzero(self._values[rows, _TEMPERATURE] > 0)
        if len(drawing) == len(rows):
            chosen, greatest = self._draw_by_kind(logits, sequences, rows)
        else:
            greatest, chosen = logits.max(dim=-1)
            if len(drawing):
                places = upload(drawing, self._device)
                drawers = [sequences[index] for index in drawing]
                chosen[places], _ = self._draw_by_kind(logits[places], drawers, rows[drawing])
        if len(penalized):
            self._note(chosen, penalized, rows, positions)
        return chosen, greatest

    def _penalties(
        self, places: NDArray[np.int64], rows: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> Penalties:
        assert self._tokens is not None
        values = self._values[rows]
        repeats = (values[:, _REPETITION] != 1).any()
        counts = values[:, _FREQUENCY:].any()
        columns = upload(values, self._device, torch.float32).unbind(1)
        return Penalties(
            upload(places, self._device),
            self._tokens[upload(rows, self._device), : int(lengths.max())].long(),
            upload(lengths, self._device),
            upload(self._prompt_lengths[rows], self._device),
            columns[_REPETITION] if repeats else None,
            columns[_FREQUENCY] if counts else None,
            columns[_PRESENCE] if counts else None,
        )

    def _note(
        self,
        chosen: torch.Tensor,
        penalized: NDArray[np.int64],
        rows: NDArray[np.int64],
        positions: NDArray[np.int64],
    ) -> None:
        """Adds the tokens chosen for penalized rows to what they will be penalized for."""
        assert self._tokens is not None
        if len(penalized) < len(rows):
            rows, positions = rows[penalized], positions[penalized]
            chosen = chosen[upload(penalized, self._device)]
        # The last token that a context has room for has no place, and no need of one.
        places = rows * self._tokens.shape[1] + positions.clip(max=self._tokens.shape[1] - 1)
        self._tokens.view(-1)[upload(places, self._device)] = chosen.int()

    def _draw_by_kind(
        self, logits: torch.Tensor, sequences: SequenceOf[Sequence], rows: NDArray[np.int64]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draws for rows with and without a top-k apart: without one all logits are candidates."""
        draws = np.array([[sequence.random.random()] for sequence in sequences])
        unbounded = self._top_k[rows] == 0
        if unbounded.all() or not unbounded.any():
            return self._draw(logits, rows, draws)
        chosen = torch.empty(len(rows), dtype=torch.int64, device=self._device)
        greatest = torch.empty(len(rows), dtype=torch.float32, device=self._device)
        for kind in (unbounded, ~unbounded):
            of_kind = np.flatnonzero(kind)
            places = upload(of_kind, self._device)
            drawn = self._draw(logits[places], rows[of_kind], draws[of_kind])
            chosen[places], greatest[places] = drawn
        return chosen, greatest

    def _draw(
        self, logits: torch.Tensor, rows: NDArray[np.int64], draws: NDArray[np.float64]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        name = rows.tobytes()
        if name not in self._parameters:
            if len(self._parameters) >= _MAX_KEPT:
                self._parameters.clear()
            self._parameters[name] = self._draw_parameters(rows)
        draws_on_device = upload(draws, self._device, torch.float64)
        return draw(logits, self._parameters[name], draws_on_device)

    def _draw_parameters(self, rows: NDArray[np.int64]) -> DrawParameters:
        values, top_k = self._values[rows], self._top_k[rows]
        max_top_k = int(top_k.max())
        columns = upload(values, self._device, torch.float32).split(1, dim=1)
        return DrawParameters(
            columns[_TEMPERATURE],
            max_top_k,
            upload(top_k[:, None], self._device) if (top_k < max_top_k).any() else None,
            columns[_TOP_P] if np.isfinite(values[:, _TOP_P]).any() else None,
            columns[_MIN_P] if values[:, _MIN_P].any() else None,
        )

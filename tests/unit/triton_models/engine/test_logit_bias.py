"""Biases of logits: as in transformers, for the rows that have some, however rows are sampled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import RepetitionPenaltyLogitsProcessor, SequenceBiasLogitsProcessor

from tests.unit.triton_models.engine.test_sampling import END_ID, make_sequence
from triton_models.engine.sampling_table import SamplingMode, SamplingTable

VOCABULARY = 500
PROMPT = [1, 2, 3]
PLACES = np.array([len(PROMPT)] * 3)


class Rows:
    """Three rows of a table, the second of which has biases."""

    def __init__(self, *bias: tuple[int, float], **options: Any) -> None:
        self._table = SamplingTable(3, 64, [END_ID], torch.device("cpu"))
        self.write({}, {"logit_bias": bias, **options}, {"temperature": 1.0})

    def write(self, *options: dict[str, Any]) -> None:
        sequences = [make_sequence(PROMPT, [], **each) for each in options]
        self._table.write(range(len(options)), sequences)

    def choose(self, logits: torch.Tensor, as_graphs_do: bool) -> tuple[list[int], torch.Tensor]:
        """Returns the rows' tokens, and what has become of the logits."""
        logits, rows = logits.clone(), np.arange(3)
        if as_graphs_do:
            mode = self._table.mode(rows, PLACES)
            where = torch.from_numpy(rows), torch.from_numpy(PLACES)
            tokens, _ = self._table.choose_for_all(logits, *where, mode)
        else:
            tokens, _ = self._table.choose_by_kind(logits, rows, PLACES)
        return tokens.tolist(), logits


@pytest.fixture
def logits() -> torch.Tensor:
    return 5 * torch.randn(3, VOCABULARY, generator=torch.Generator().manual_seed(1))


BOTH_WAYS = pytest.mark.parametrize("as_graphs_do", [False, True])


@BOTH_WAYS
def test_logits_are_those_of_transformers_with_biases_before_penalties(
    logits: torch.Tensor, as_graphs_do: bool
) -> None:
    # Of tokens of the prompt as well, which the penalty is for.
    bias = [(0, 3.25), (1, -7.5), (3, 40.0), (VOCABULARY - 1, 12.0), (17, -100.0)]
    processors = (
        SequenceBiasLogitsProcessor([[[token], value] for token, value in bias]),
        RepetitionPenaltyLogitsProcessor(1.3),
    )
    expected = logits[1:2].clone()
    for processor in processors:
        expected = processor(torch.tensor([PROMPT]), expected)
    _, changed = Rows(*bias, repetition_penalty=1.3).choose(logits, as_graphs_do)
    torch.testing.assert_close(changed[1:2], expected, rtol=0, atol=0)


@BOTH_WAYS
@pytest.mark.parametrize("options", [{}, {"temperature": 1.0}, {"temperature": 1.0, "top_k": 0}])
def test_100_forces_a_token_and_minus_100_bans_it(
    logits: torch.Tensor, as_graphs_do: bool, options: dict[str, Any]
) -> None:
    logits.clamp_(-40, 40)
    tokens, _ = Rows((123, 100.0), **options).choose(logits, as_graphs_do)
    assert tokens[1] == 123
    likeliest = logits[1].topk(250).indices.tolist()
    banned = [(token, -100.0) for token in likeliest]
    tokens, _ = Rows(*banned, **options).choose(logits, as_graphs_do)
    assert tokens[1] not in likeliest


@BOTH_WAYS
def test_other_rows_are_unchanged_and_so_is_the_row_s_next_request(
    logits: torch.Tensor, as_graphs_do: bool
) -> None:
    rows = Rows((5, 100.0), (0, 50.0))
    unbiased, _ = Rows().choose(logits, as_graphs_do)
    biased, changed = rows.choose(logits, as_graphs_do)
    assert biased == [unbiased[0], 5, unbiased[2]]
    assert torch.equal(changed[::2], logits[::2])
    rows.write({}, {}, {"temperature": 1.0})
    again, changed = rows.choose(logits, as_graphs_do)
    assert again == unbiased
    assert torch.equal(changed, logits)
    rows.write({}, {"logit_bias": ((7, 100.0),)}, {})
    assert rows.choose(logits, as_graphs_do)[0][1] == 7


def test_only_a_batch_with_biases_needs_the_mode_that_has_them() -> None:
    table = SamplingTable(2, 64, [END_ID], torch.device("cpu"))
    table.write([0, 1], [make_sequence(PROMPT, [], logit_bias=((1, 1.0),)), make_sequence([1], [])])
    assert table.mode(np.array([0, 1]), PLACES[:2]) is SamplingMode.ANY
    assert table.mode(np.array([1]), PLACES[:1]) is SamplingMode.GREEDY


@BOTH_WAYS
def test_an_end_token_that_must_not_come_yet_stays_out(
    logits: torch.Tensor, as_graphs_do: bool
) -> None:
    table = SamplingTable(3, 64, [END_ID], torch.device("cpu"))
    forced = {"logit_bias": ((END_ID, 100.0),)}
    table.write(
        range(3), [make_sequence(PROMPT, [], min_tokens=count, **forced) for count in (0, 1, 0)]
    )
    rows = Rows()
    rows._table = table
    tokens, _ = rows.choose(logits, as_graphs_do)
    assert [token == END_ID for token in tokens] == [True, False, True]

"""What clients of other servers send, and what it means here."""

from __future__ import annotations

import json
from typing import Any

import pytest

from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.request import (
    GenerationDefaults,
    GenerationRequest,
    parse_generation_request,
)


def parse(**values: Any) -> GenerationRequest:
    return parse_generation_request(
        {name: value if isinstance(value, list) else [value] for name, value in values.items()},
        GenerationDefaults(),
    )


@pytest.mark.parametrize(
    ("seed", "meant"),
    [
        (0, 0),
        (2**63 - 1, 2**63 - 1),
        (2**64 - 1, 2**64 - 1),
        (-1, 2**64 - 1),
        (-(2**63), 2**63),
        (-7, 2**64 - 7),
    ],
)
def test_a_negative_seed_is_another_name_of_an_unsigned_one(seed: int, meant: int) -> None:
    assert parse(seed=seed).sampling.seed == meant
    assert parse(sampling_parameters=json.dumps({"seed": seed})).sampling.seed == meant


def test_a_top_p_of_zero_is_taken() -> None:
    assert parse(top_p=0.0).sampling.top_p == 0


@pytest.mark.parametrize("words", [[""], ["", ""], []])
def test_empty_stop_words_ask_for_nothing(words: list[str]) -> None:
    assert parse(stop_words=words).stop_words == ()
    assert parse(stop_words=[*words, "x"]).stop_words == ("x",)


def test_ends_are_obeyed_unless_they_are_to_be_ignored() -> None:
    assert not parse().ignore_eos
    assert not parse(ignore_eos=False).ignore_eos
    assert parse(ignore_eos=True).ignore_eos
    with pytest.raises(InvalidArgumentError, match="leave one of them out"):
        parse(ignore_eos=True, format='{"type": "json_object"}')

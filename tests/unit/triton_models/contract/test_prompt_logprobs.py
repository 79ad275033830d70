"""A request that scores its prompt may ask for no answer."""

from __future__ import annotations

import pytest

from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.request import GenerationDefaults, parse_generation_request

DEFAULTS = GenerationDefaults()


def test_a_prompt_can_be_scored_without_an_answer() -> None:
    request = parse_generation_request({"max_tokens": [0], "prompt_logprobs": [2]}, DEFAULTS)
    assert (request.max_tokens, request.prompt_logprobs) == (0, 2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_tokens": [0]}, "max_tokens is 0"),
        ({"max_tokens": [0], "prompt_logprobs": [0], "min_tokens": [1]}, "which is 0"),
        ({"prompt_logprobs": [21]}, "from 0 to 20"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(values: dict[str, list[int]], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        parse_generation_request(values, DEFAULTS)

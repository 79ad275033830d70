"""The layers where a request has traits read."""

from __future__ import annotations

from typing import Any

import pytest

from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.request import GenerationDefaults, parse_generation_request


def layers(**values: Any) -> tuple[int, ...] | None:
    return parse_generation_request(values, GenerationDefaults()).monitor_layers


def test_they_are_those_that_are_named_or_those_of_each_vector() -> None:
    assert layers(monitor=["sarcasm"], monitor_layers=[20, 3]) == (3, 20)
    assert layers(monitor=["sarcasm"]) is None
    assert layers(monitor=["sarcasm"], monitor_layers=[]) is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"monitor_layers": [1]}, "monitor_layers needs monitor"),
        ({"monitor": ["a"], "monitor_layers": [1, 1]}, r"monitor_layers is \[1, 1\]"),
        ({"monitor": ["a"], "monitor_layers": [-1]}, r"monitor_layers is \[-1\]"),
    ],
)
def test_what_cannot_be_meant_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        layers(**values)

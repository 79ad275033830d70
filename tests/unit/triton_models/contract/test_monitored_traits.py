"""The traits that a request has read."""

from __future__ import annotations

from triton_models.contract.request import GenerationDefaults, parse_generation_request
from triton_models.contract.steering import MAX_TRAITS


def test_one_that_is_named_twice_counts_once() -> None:
    """As a sweep with scores names the swept one again, which the request may monitor anyway."""
    traits = [f"trait {number}" for number in range(MAX_TRAITS)]
    request = parse_generation_request({"monitor": [*traits, traits[3]]}, GenerationDefaults())
    assert request.monitor == tuple(traits)

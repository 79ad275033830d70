"""A checker of one Triton, whose clock stands still until it is moved."""

from __future__ import annotations

from typing import cast

import pytest

from launcher.health import HealthChecker
from launcher.triton_calls import TritonCalls
from tests.unit.launcher.health.checked import Calls, Clock


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def checker(calls: Calls, clock: Clock) -> HealthChecker:
    return HealthChecker(cast(TritonCalls, calls), 5.0, clock)

"""What each case renders, once for all files here."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.deploy.helm import render
from tests.unit.deploy.helm_chart.cases import CASES


@pytest.fixture(scope="package", params=CASES)
def resources(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """What a case renders."""
    files, values = CASES[request.param]
    return render(*files, **values)

"""A minute and a half of the soak that otherwise runs for an hour: nothing is lost or leaks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks.soak.faults import GATEWAY_RESTARTED, STUB_KILLED, TRITON_KILLED
from benchmarks.soak.run import SoakOptions, soak
from benchmarks.soak.verdicts import Outcome

MINUTES = 1.6
"""As long as a process must be watched to be judged, and a little."""


# The load lasts longer than that where servers take long to come back, which they may.
@pytest.mark.timeout(1200)
def test_minutes_of_use_with_faults_lose_nothing_and_leak_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "soak"
    folder.mkdir()
    report = asyncio.run(soak(SoakOptions(MINUTES, folder, seed=1, users=2, interval=2.0)))
    assert report.sound, report.markdown()
    # What did not happen was not tested.
    ledger = report.ledger
    assert {fault.kind for fault in ledger.faults} == {
        STUB_KILLED,
        TRITON_KILLED,
        GATEWAY_RESTARTED,
    }
    for outcome in (Outcome.ANSWERED, Outcome.REFUSED, Outcome.CUT, Outcome.FAILED):
        assert ledger.of(outcome), report.markdown()
    assert any(growth.judged for growth in report.growth), report.markdown()

"""A supervisor that serves."""

from __future__ import annotations

import pytest

from launcher import supervisor as supervising
from tests.unit.launcher.supervisor.rig import HealthThread, Rig


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    monkeypatch.setattr(supervising, "HealthThread", HealthThread)
    monkeypatch.setattr(supervising, "_DRAIN_POLL_SECONDS", 0.0)
    monkeypatch.setattr(supervising, "_MAX_BACKOFF_SECONDS", 0.0)
    rig = Rig()
    rig.start()
    return rig

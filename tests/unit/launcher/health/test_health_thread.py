"""The thread that looks at the server's health."""

from __future__ import annotations

from typing import Any, cast

from launcher import supervisor as supervising
from launcher.health import Health, HealthReport


def test_looking_goes_on_whatever_a_look_runs_into() -> None:
    class HealthChecker:
        looks = 0

        def check(self) -> HealthReport:
            self.looks += 1
            if self.looks == 1:
                raise RuntimeError("no such thing")
            return HealthReport(Health.WELL)

    health_thread = supervising.HealthThread(cast(Any, HealthChecker()))
    health_thread.pause_seconds = 0.0
    found: list[HealthReport] = []
    while len(found) < 2:
        found += health_thread.reports()
        health_thread.check_now()
    health_thread.end()
    assert [each.health for each in found[:2]] == [Health.FAILING, Health.WELL]
    assert "no such thing" in found[0].reason

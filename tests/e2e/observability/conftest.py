"""A gateway and a collector of its traces for all files here."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from launcher.stack import Stack
from tests.e2e.observability.observed_gateway import Running, running
from tests.otlp_collector import Collector, collector


@pytest.fixture(scope="package")
def traces() -> Iterator[Collector]:
    with collector() as collected:
        yield collected


@pytest.fixture(scope="package")
def gateway(
    stack: Stack, traces: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": traces.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with running(stack, tmp_path_factory.mktemp("gateway"), **environment) as gateway:
        yield gateway


@pytest.fixture(scope="package")
def api(gateway: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url, timeout=60) as client:
        yield client

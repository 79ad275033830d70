"""A guarded gateway for all files here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from launcher.settings import ROOT
from launcher.stack import Stack
from tests.e2e.protection.guarded_gateway import Guarded, gateway_url

POLICY = ROOT / "deploy" / "policy.example.json"


@pytest.fixture(scope="package")
def guarded(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    guarded = Guarded(stack, folder)
    with gateway_url(
        stack,
        folder,
        API_KEYS_FILE=str(guarded.keys),
        POLICY_FILE=str(POLICY),
        AUDIT_LOG=str(guarded.audit),
        RATE_LIMIT_TOKENS="100000/day",
    ) as url:
        guarded.url = url
        yield guarded

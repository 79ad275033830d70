"""Settings that cannot be used are one line, and no gateway."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from launcher.settings import ROOT


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"API_KEYS": '[{"name": "x"}]'}, "error: API_KEYS: 0.role: Field required"),
        ({"API_KEYS_FILE": "/nowhere/keys.json"}, "cannot be read"),
        ({"POLICY_FILE": str(ROOT / "pyproject.toml")}, "not valid JSON"),
        ({"AUDIT_LOG": "/nowhere/audit.log"}, "cannot be written"),
        ({"TRUSTED_PROXIES": "*"}, "error: TRUSTED_PROXIES is"),
        ({"RATE_LIMIT_STORAGE": "redi://:s3cret@x"}, "error: RATE_LIMIT_STORAGE is neither"),
        ({"RATE_LIMIT_REQUESTS": "lots"}, "write a limit like 60/minute"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_no_gateway(
    variables: dict[str, str], says: str
) -> None:
    started = subprocess.run(
        [sys.executable, "-m", "gateway"],
        env={**os.environ, "PORT": "1", **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert started.returncode == 2
    assert says in started.stderr
    assert "Traceback" not in started.stderr
    assert "s3cret" not in started.stderr
    assert len(started.stderr.strip().splitlines()) == 1

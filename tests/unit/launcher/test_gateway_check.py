"""What the gateway cannot use is said before anything starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher import preflight
from launcher.errors import LaunchError
from launcher.settings import ROOT


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"API_KEYS": "secret"}, "API_KEYS: not valid JSON"),
        ({"POLICY_FILE": "/nowhere/policy.json"}, "/nowhere/policy.json cannot be read"),
        ({"WORKERS": "0", "DOCS": "maybe"}, "WORKERS is '0'.*\nDOCS is 'maybe'"),
    ],
)
def test_it_is_refused_by_name(variables: dict[str, str], message: str) -> None:
    with pytest.raises(LaunchError, match=message) as refused:
        preflight.prepare(variables, with_gateway=True)
    assert "error: " not in str(refused.value)
    preflight.prepare(variables, with_gateway=False)


def test_where_triton_is_the_launcher_says_itself() -> None:
    preflight.prepare({"TRITON_URL": "not an address"}, with_gateway=True)


def test_the_launcher_ends_before_it_starts_triton(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "launcher"],
        cwd=ROOT,
        env={**os.environ, "API_KEYS": '["one"]', "RUN_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("serve: API_KEYS: ")
    assert "starting Triton" not in done.stdout
    assert not list(tmp_path.iterdir())

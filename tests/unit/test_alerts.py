"""Prometheus takes the rules and the examples, and the alerts are raised when they should be."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from triton_models.settings import REPOSITORY_ROOT

RULES = REPOSITORY_ROOT / "deploy" / "prometheus" / "alerts.yaml"
CASES = Path(__file__).with_name("alerts_test.yaml")

pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)"
)


def promtool(*arguments: str, folder: Path) -> None:
    ended = subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_prometheus_takes_the_rules() -> None:
    promtool("check", "rules", RULES.name, folder=RULES.parent)


@pytest.mark.parametrize("example", ["deploy/prometheus", "deploy/compose"])
def test_prometheus_takes_the_configuration(example: str, tmp_path: Path) -> None:
    shutil.copy(RULES, tmp_path)
    shutil.copy(REPOSITORY_ROOT / example / "prometheus.yaml", tmp_path)
    promtool("check", "config", "prometheus.yaml", folder=tmp_path)


def test_alerts_are_raised_when_they_should_be(tmp_path: Path) -> None:
    # What an alert says to people is not compared: its labels and its time are.
    rules = yaml.safe_load(RULES.read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            del rule["annotations"]
    (tmp_path / RULES.name).write_text(yaml.safe_dump(rules))
    shutil.copy(CASES, tmp_path)
    promtool("test", "rules", CASES.name, folder=tmp_path)

"""Prometheus takes the rules and the examples, and the alerts are raised when they should be."""

from __future__ import annotations

import re
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
    (tmp_path / "prometheus_key").touch()  # which Compose mounts, and promtool looks for
    text = (REPOSITORY_ROOT / example / "prometheus.yaml").read_text()
    (tmp_path / "prometheus.yaml").write_text(text.replace("/run/secrets/", f"{tmp_path}/"))
    promtool("check", "config", "prometheus.yaml", folder=tmp_path)


def test_every_series_is_chosen_by_a_job_that_is_scraped() -> None:
    # To which the chart adds the release: a series without one would be everybody's.
    jobs = yaml.safe_load((RULES.parent / "prometheus.yaml").read_text())["scrape_configs"]
    names = {job["job_name"] for job in jobs}
    rules = [
        rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    ]
    for rule in rules:
        series = re.findall(r"\b(?:up|persona_\w+)\b(?!\")(.*?\}|)", rule["expr"])
        assert series
        for chosen in series:
            found = re.search(r'^\{job="([a-z-]+)"', chosen)
            assert found, rule["expr"]
            assert found[1] in names


def test_alerts_are_raised_when_they_should_be(tmp_path: Path) -> None:
    # What an alert says to people is not compared: its labels and its time are.
    rules = yaml.safe_load(RULES.read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            del rule["annotations"]
    (tmp_path / RULES.name).write_text(yaml.safe_dump(rules))
    shutil.copy(CASES, tmp_path)
    promtool("test", "rules", CASES.name, folder=tmp_path)

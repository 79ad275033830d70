"""Dashboard, alerts and the example's scraping ask for what there is."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest
import yaml

from launcher.settings import ROOT
from launcher.stack import Stack
from tests.e2e.observability.observed_gateway import GENERATE, STEERED, Running
from tests.e2e.waiting import eventually

METRIC = re.compile(r"\b(?:persona|nv)_[a-z0-9_]+\b")


def expressions_of_dashboard() -> list[str]:
    dashboard = json.loads((ROOT / "deploy/grafana/persona.json").read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    variables = {each["name"] for each in dashboard["templating"]["list"]}
    expressions = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    expressions += [each["definition"] for each in dashboard["templating"]["list"][1:]]
    for expression in expressions:
        used = set(re.findall(r"\$(\w+)", expression)) - {"__rate_interval"}
        assert used <= variables
    return expressions


def expressions_of_alerts() -> list[str]:
    groups = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"].keys() == {"summary", "description"}
    return [rule["expr"] for rule in rules]


@pytest.mark.parametrize("expressions_of", [expressions_of_dashboard, expressions_of_alerts])
def test_dashboard_and_alerts_ask_for_what_there_is(
    expressions_of: Any, gateway: Running, api: httpx.Client, stack: Stack
) -> None:
    # A trait has a series once something was steered by it, and the engine has said so.
    assert api.post(GENERATE, json=STEERED).status_code == 200
    addresses = stack.settings.metrics_url, f"{stack.settings.status_url}/metrics"

    def missing() -> set[str]:
        others = "".join(httpx.get(address).text for address in addresses)
        return used - gateway.scrape().names - set(re.findall(r"^# TYPE (\w+) ", others, re.M))

    expressions = expressions_of()
    used = {name for expression in expressions for name in METRIC.findall(expression)}
    assert len(used) > 5
    assert eventually(lambda: not missing()), missing()
    for expression in expressions:
        assert expression.count("(") == expression.count(")")
        assert expression.count("{") == expression.count("}")


def test_the_example_scrapes_the_jobs_that_alerts_name() -> None:
    folder = ROOT / "deploy/prometheus"
    config = yaml.safe_load((folder / "prometheus.yaml").read_text())
    jobs = {job["job_name"] for job in config["scrape_configs"]}
    named = {
        name for each in expressions_of_alerts() for name in re.findall(r'job="([^"]+)"', each)
    }
    assert named == jobs
    assert all((folder / name).is_file() for name in config["rule_files"])

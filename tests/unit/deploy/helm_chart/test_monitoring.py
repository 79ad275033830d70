"""Scaling, Prometheus, alerts and dashboard know this release and have the keys they need."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.deploy.helm import render
from tests.unit.deploy.helm_chart.cases import (
    KEYS,
    SECRET,
    SHARED,
    container_of,
    of_kind,
    part_of,
    rendered,
    variables,
)
from triton_models.settings import REPOSITORY_ROOT


@pytest.mark.parametrize(
    ("values", "public"),
    [
        ({}, "true"),
        ({"gateway": {"service": {"type": "LoadBalancer"}}}, "false"),
        ({"gateway": {"service": {"type": "NodePort"}}}, "false"),
        ({"monitoring": {"apiKeySecret": SECRET}}, "false"),
    ],
)
def test_metrics_need_a_key_where_somebody_from_outside_reaches_them(
    values: dict[str, Any], public: str
) -> None:
    gateway = container_of(part_of(render(**KEYS, **values), "gateway"))
    assert variables(gateway)["METRICS_PUBLIC"] == public


def test_prometheus_has_the_key_that_metrics_need() -> None:
    monitors = of_kind(rendered("everything"), "ServiceMonitor")
    for monitor in monitors:
        for endpoint in monitor["spec"]["endpoints"]:
            key = endpoint.get("authorization", {}).get("credentials")
            assert key == (SECRET if endpoint["port"] == "http" else None)


def test_helm_s_test_reaches_a_closed_gateway() -> None:
    resources = rendered("everything")
    labels = part_of(resources, "test")["metadata"]["labels"]
    (policy,) = of_kind(resources, "NetworkPolicy", "gateway")
    peers = [peer for rule in policy["spec"]["ingress"] for peer in rule["from"]]
    selected = [peer["podSelector"]["matchLabels"] for peer in peers if "podSelector" in peer]
    assert any(selector.items() <= labels.items() for selector in selected)


def test_what_scales_has_no_number_of_replicas_of_its_own() -> None:
    for kind, scaler in (("keda", "ScaledObject"), ("hpa", "HorizontalPodAutoscaler")):
        resources = render(**{**KEYS, "autoscaling": {"kind": kind}, **SHARED})
        (triton,) = of_kind(resources, "Deployment", "triton")
        assert "replicas" not in triton["spec"]
        (found,) = of_kind(resources, scaler, "triton")
        target = found["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) == ("Deployment", triton["metadata"]["name"])


def test_keda_shows_prometheus_who_it_is() -> None:
    resources = rendered("everything")
    (made,) = of_kind(resources, "TriggerAuthentication")
    assert made["spec"]["secretTargetRef"] == [{"parameter": "bearerToken", **SECRET}]
    own = {"modes": "bearer", "ref": {"name": "mine", "kind": "ClusterTriggerAuthentication"}}
    others = render(**KEYS, **SHARED, autoscaling={"kind": "keda", "authentication": own})
    assert not of_kind(others, "TriggerAuthentication")
    for scaler, reference in (
        (resources, {"name": made["metadata"]["name"]}),
        (others, own["ref"]),
    ):
        (scaled,) = of_kind(scaler, "ScaledObject")
        for trigger in scaled["spec"]["triggers"]:
            assert trigger["authenticationRef"] == reference
            assert trigger["metadata"]["authModes"] == "bearer"
            assert 'namespace="serving"' in trigger["metadata"]["query"]


def test_keda_takes_an_authentication_that_names_no_modes() -> None:
    for own, expected in (({"ref": {"name": "mine"}}, {"name": "mine"}), ({}, None)):
        scaling = {"kind": "keda", "authentication": own}
        resources = render(**KEYS, **SHARED, autoscaling=scaling)
        assert not of_kind(resources, "TriggerAuthentication")
        (scaled,) = of_kind(resources, "ScaledObject")
        for trigger in scaled["spec"]["triggers"]:
            assert trigger.get("authenticationRef") == expected
            assert "authModes" not in trigger["metadata"]


def test_the_alerts_are_those_of_the_repository_about_this_release_alone(tmp_path: Path) -> None:
    (rule,) = of_kind(rendered("everything"), "PrometheusRule")
    alerts = REPOSITORY_ROOT / "deploy" / "prometheus" / "alerts.yaml"
    scope = ', namespace="serving", release="demo"'
    text = yaml.safe_dump(rule["spec"], width=10_000)
    assert yaml.safe_load(text.replace(scope, "")) == yaml.safe_load(alerts.read_text())
    assert len(re.findall('job="', text)) == len(re.findall(scope, text))
    if shutil.which("promtool"):
        (tmp_path / "alerts.yaml").write_text(text)
        subprocess.run(["promtool", "check", "rules", "alerts.yaml"], cwd=tmp_path, check=True)


def test_the_series_have_the_labels_that_alerts_and_dashboard_choose_them_by() -> None:
    resources = rendered("everything")
    jobs = set()
    for monitor in of_kind(resources, "ServiceMonitor"):
        selector = monitor["spec"]["selector"]["matchLabels"]
        (service,) = (
            each
            for each in of_kind(resources, "Service")
            if selector.items() <= each["metadata"]["labels"].items()
        )
        ports = {each["name"] for each in service["spec"]["ports"]}
        for endpoint in monitor["spec"]["endpoints"]:
            assert endpoint["port"] in ports
            labels = {
                each["targetLabel"]: each["replacement"]
                for each in endpoint["relabelings"]
                if "targetLabel" in each
            }
            assert labels["release"] == "demo"
            jobs.add(labels["job"])
            # What still fetches its model is not down.
            assert endpoint["relabelings"][-1]["regex"] == "Pending"
            assert endpoint["relabelings"][-1]["action"] == "drop"
    assert jobs == {"persona-gateway", "persona-triton", "persona-supervisor"}


def test_the_dashboard_is_that_of_the_repository() -> None:
    (dashboard,) = of_kind(rendered("everything"), "ConfigMap", "dashboard")
    file = REPOSITORY_ROOT / "deploy" / "grafana" / "persona.json"
    assert yaml.safe_load(dashboard["data"]["persona.json"]) == yaml.safe_load(file.read_text())
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    expressions = re.findall(r'"(?:expr|definition)": "(.*)"', file.read_text())
    for expression in expressions[2:]:
        series = re.findall(r"\bpersona_\w+(?:{.*?}|)", expression)
        assert all("$namespace" in each and "$release" in each for each in series), expression

"""The chart renders what Kubernetes takes, and what it renders fits together and the servers."""

from __future__ import annotations

import runpy
from typing import Any

import kubernetes_validate
import pytest

from tests.unit.deploy.deployed_settings import gateway_variables, triton_variables
from tests.unit.deploy.helm import CHART, lint
from tests.unit.deploy.helm_chart.cases import (
    CASES,
    HUB_VARIABLES,
    container_of,
    of_kind,
    part_of,
    pods,
    rendered,
    variables,
)

pytestmark = pytest.mark.slow  # renders the chart many times

CUSTOM = {
    "ScaledObject",
    "TriggerAuthentication",
    "ServiceMonitor",
    "PrometheusRule",
    "ExternalSecret",
    "HTTPRoute",
}
"""Kinds that operators define: Kubernetes itself has no schema of them."""


def test_every_resource_is_one_that_kubernetes_takes(resources: list[dict[str, Any]]) -> None:
    for resource in resources:
        if resource["kind"] not in CUSTOM:
            for version in ("1.29", "1.35"):
                kubernetes_validate.validate(resource, version, strict=True)


@pytest.mark.parametrize("case", CASES)
def test_helm_has_no_complaints(case: str) -> None:
    files, values = CASES[case]
    assert lint(*files, **values) == []


def test_selectors_choose_the_pods_of_the_release(resources: list[dict[str, Any]]) -> None:
    labels = [template["metadata"]["labels"] for template in pods(resources).values()]
    services = [each["metadata"]["labels"] for each in of_kind(resources, "Service")]

    def chosen(selector: dict[str, str], among: list[dict[str, str]]) -> int:
        return sum(selector.items() <= each.items() for each in among)

    for resource in resources:
        spec = resource.get("spec", {})
        if resource["kind"] == "Service":
            assert chosen(spec["selector"], labels) == 1
        if resource["kind"] in ("Deployment", "PodDisruptionBudget"):
            assert chosen(spec["selector"]["matchLabels"], labels) == 1
        if resource["kind"] == "NetworkPolicy":
            assert chosen(spec["podSelector"]["matchLabels"], labels) == 1
        if resource["kind"] == "ServiceMonitor":
            assert chosen(spec["selector"]["matchLabels"], services) == 1


def test_the_servers_know_every_variable_that_is_set(resources: list[dict[str, Any]]) -> None:
    triton = part_of(resources, "triton")["spec"]
    assert set(variables(triton["containers"][0])) <= triton_variables()
    gateway = part_of(resources, "gateway")
    assert set(variables(container_of(gateway))) <= gateway_variables()
    for template in pods(resources).values():
        spec = template["spec"]
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            if container["name"].endswith("-model"):
                assert set(variables(container)) <= triton_variables() | HUB_VARIABLES


def test_every_volume_that_is_mounted_is_there(resources: list[dict[str, Any]]) -> None:
    claims = {each["metadata"]["name"] for each in of_kind(resources, "PersistentVolumeClaim")}
    for template in pods(resources).values():
        spec = template["spec"]
        volumes = {each["name"]: each for each in spec.get("volumes", [])}
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            assert {each["name"] for each in container.get("volumeMounts", [])} <= volumes.keys()
        asked = {
            each["persistentVolumeClaim"]["claimName"]
            for each in volumes.values()
            if "persistentVolumeClaim" in each
        }
        # Those of the chart, or somebody's own.
        assert asked <= claims | {"persona-data", "m"}


def test_helm_s_test_is_a_program_that_runs() -> None:
    pod = part_of(rendered("everything"), "test")
    *command, code, url = container_of(pod)["command"]
    assert command == ["python", "-c"]
    assert url == "http://demo-gateway:80"
    compile(code, "steers.py", "exec")
    assert "check" in runpy.run_path(str(CHART / "files" / "steers.py"))

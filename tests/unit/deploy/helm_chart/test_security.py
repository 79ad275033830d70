"""Pods are restricted, Triton is closed to all but gateways, and keys stay where they belong."""

from __future__ import annotations

import base64
from typing import Any

from tests.unit.deploy.helm import render
from tests.unit.deploy.helm_chart.cases import (
    KEYS,
    container_of,
    of_kind,
    part_of,
    pods,
    rendered,
    variables,
)
from triton_models import control


def test_pods_meet_the_restricted_security_standard(resources: list[dict[str, Any]]) -> None:
    for template in pods(resources).values():
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        ours = (each for each in spec.get("initContainers", []) if each["name"] != "first")
        for container in [*spec["containers"], *ours]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            for kind in ("requests", "limits"):
                assert {"memory", "ephemeral-storage"} <= container["resources"][kind].keys()


def test_openshift_chooses_the_user() -> None:
    for template in pods(rendered("openshift")).values():
        assert template["spec"]["securityContext"].keys() == {"runAsNonRoot", "seccompProfile"}


def test_only_gateways_and_prometheus_reach_triton(resources: list[dict[str, Any]]) -> None:
    (policy,) = of_kind(resources, "NetworkPolicy", "triton")
    from_gateway, from_prometheus, *others = policy["spec"]["ingress"]
    labels = part_of(resources, "gateway")["metadata"]["labels"]
    (peer,) = from_gateway["from"]
    assert peer["podSelector"]["matchLabels"].items() <= labels.items()
    assert from_gateway["ports"] == [{"port": 8001}]
    assert from_prometheus["ports"] == [{"port": 8002}, {"port": 8004}]
    assert all(other["from"] for other in others)
    assert "Egress" in policy["spec"]["policyTypes"]
    fetches = [
        each["name"]
        for each in part_of(resources, "triton")["spec"].get("initContainers", [])
        if each["name"] == "fetch-model"
    ]
    assert bool(policy["spec"]["egress"]) == bool(fetches)


def test_triton_s_http_port_is_there_only_where_it_is_asked_for(
    resources: list[dict[str, Any]],
) -> None:
    triton = container_of(part_of(resources, "triton"))
    opened = variables(triton).get("TRITON_HTTP") == "true"
    assert (8000 in [each["containerPort"] for each in triton["ports"]]) == opened
    (service,) = of_kind(resources, "Service", "triton")
    assert (8000 in [each["port"] for each in service["spec"]["ports"]]) == opened


def test_triton_and_the_gateway_share_an_access_key_and_nobody_a_control_key(
    resources: list[dict[str, Any]],
) -> None:
    secrets = {each["metadata"]["name"]: each.get("data") for each in of_kind(resources, "Secret")}
    first, second = (
        variable["valueFrom"]["secretKeyRef"]
        for part in ("triton", "gateway")
        for variable in container_of(part_of(resources, part))["env"]
        if variable["name"] == control.ACCESS_VARIABLE
    )
    assert first == second
    if first["name"] == "access":
        assert not any(name.endswith("access-key") for name in secrets)
    else:
        made = secrets[first["name"]]
        assert made
        control.checked_key(base64.b64decode(made[first["key"]]).decode())
    assert control.VARIABLE not in str(resources)


def test_every_installation_has_an_access_key_of_its_own() -> None:
    values = (KEYS, {**KEYS, "disruptionBudget": {"enabled": False}})
    one, other = (of_kind(render(**each), "Secret", "access-key")[0]["data"] for each in values)
    assert one != other

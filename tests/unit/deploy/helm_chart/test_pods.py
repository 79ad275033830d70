"""The pods: how they start, end and are placed, and what they may take."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.deploy.helm import render
from tests.unit.deploy.helm_chart.cases import (
    KEYS,
    POD,
    SECRET,
    container_of,
    of_kind,
    part_of,
    pods,
    rendered,
    variables,
)


def test_probes_ask_the_supervisor_and_gateways_live_through_a_busy_triton(
    resources: list[dict[str, Any]],
) -> None:
    triton = container_of(part_of(resources, "triton"))
    ports = {each["name"]: each["containerPort"] for each in triton["ports"]}
    assert ports["status"] == 8004
    assert variables(triton)["STATUS_PORT"] == "8004"
    for probe, path in (("startup", "/ready"), ("readiness", "/ready"), ("liveness", "/live")):
        assert triton[f"{probe}Probe"]["httpGet"] == {"path": path, "port": "status"}
        # It answers from memory; what takes seconds is the machine, not the model.
        assert triton[f"{probe}Probe"]["timeoutSeconds"] >= 5
    patience = triton["startupProbe"]["failureThreshold"] * triton["startupProbe"]["periodSeconds"]
    assert patience >= int(variables(triton)["START_SECONDS"])
    gateway = container_of(part_of(resources, "gateway"))
    assert gateway["startupProbe"]["httpGet"]["path"] == "/health/ready"
    # Else all of them would leave the service at once.
    assert gateway["readinessProbe"]["httpGet"]["path"] == "/health"
    assert gateway["livenessProbe"]["httpGet"]["path"] == "/health"


def test_a_roll_out_is_given_the_time_that_fetching_and_loading_take(
    resources: list[dict[str, Any]],
) -> None:
    for deployment in of_kind(resources, "Deployment"):
        assert deployment["spec"]["progressDeadlineSeconds"] > 3600 + 1800
    startup = container_of(part_of(resources, "gateway"))["startupProbe"]
    assert startup["failureThreshold"] * startup["periodSeconds"] > 3600 + 1800


def test_pods_have_the_time_to_drain(resources: list[dict[str, Any]]) -> None:
    for part, variable in (("triton", "TRITON_EXIT_SECONDS"), ("gateway", "SHUTDOWN_TIMEOUT")):
        template = part_of(resources, part)
        drain = int(variables(container_of(template))[variable])
        assert template["spec"]["terminationGracePeriodSeconds"] >= drain + 15


def test_a_release_of_the_chart_restarts_no_pod() -> None:
    for template in pods(rendered("1.5b")).values():
        if "annotations" not in template["metadata"]:
            assert template["metadata"]["labels"].keys() == {
                "app.kubernetes.io/name",
                "app.kubernetes.io/instance",
                "app.kubernetes.io/component",
            }


def test_what_a_replica_takes_grows_with_its_gpus() -> None:
    def limits(gpus: int) -> dict[str, Any]:
        resources = render("values-7b.yaml", **KEYS, triton={"gpus": gpus})
        found: dict[str, Any] = container_of(part_of(resources, "triton"))["resources"]
        assert found["requests"]["nvidia.com/gpu"] == found["limits"]["nvidia.com/gpu"]
        return {"cpu": found["requests"]["cpu"], **found["limits"]}

    assert limits(1) == {
        "cpu": "8", "memory": "32Gi", "ephemeral-storage": "8Gi", "nvidia.com/gpu": 1,
    }  # fmt: skip
    assert limits(4) == {
        "cpu": "32", "memory": "128Gi", "ephemeral-storage": "32Gi", "nvidia.com/gpu": 4,
    }  # fmt: skip


@pytest.mark.parametrize("part", ["triton", "gateway", "fetch-model"])
def test_pods_run_where_and_as_whom_the_values_say(part: str) -> None:
    template = part_of(rendered("everything"), part)
    spec = template["spec"]
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    for field in ("serviceAccountName", "priorityClassName", "runtimeClassName", "nodeSelector"):
        assert spec[field] == POD[field]
    assert spec["tolerations"] == POD["tolerations"]
    assert spec["affinity"].items() >= POD["affinity"].items()
    if part == "fetch-model":
        return
    (spread,) = spec["topologySpreadConstraints"]
    assert spread["topologyKey"] == "zone"
    assert spread["labelSelector"]["matchLabels"] == template["metadata"]["labels"]
    assert template["metadata"]["annotations"] == {"a": "b"}
    assert {"name": "extra", "emptyDir": {}} in spec["volumes"]
    assert {"name": "extra", "mountPath": "/extra"} in container_of(template)["volumeMounts"]
    assert spec["initContainers"][0]["name"] == "first"
    (secret,) = (
        each["valueFrom"]["secretKeyRef"]
        for each in container_of(template)["env"]
        if each["name"] in ("KV_CACHE_TOKENS", "CORS_ORIGINS")
    )
    assert secret == SECRET
    if part == "triton":
        assert container_of(template)["resources"]["limits"]["nvidia.com/mig-3g.40gb"] == 1


@pytest.mark.parametrize(
    ("labels", "taken"),
    [
        ({}, True),
        ({"nvidia.com/cuda.driver.major": "580"}, True),
        ({"nvidia.com/cuda.driver.major": "570"}, False),
        ({"nvidia.com/cuda.driver-version.major": "595"}, True),
        ({"nvidia.com/cuda.driver-version.major": "550"}, False),
    ],
)
def test_nodes_with_too_old_a_driver_are_avoided(labels: dict[str, str], taken: bool) -> None:
    def holds(expression: dict[str, Any]) -> bool:
        value = labels.get(expression["key"])
        if expression["operator"] == "DoesNotExist":
            return value is None
        return value is not None and int(value) > int(expression["values"][0])

    affinity = part_of(rendered("1.5b"), "triton")["spec"]["affinity"]["nodeAffinity"]
    terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert any(all(map(holds, term["matchExpressions"])) for term in terms) == taken
    assert "affinity" not in part_of(rendered("demo"), "triton")["spec"]

"""KServe's example is a pod that Kubernetes takes, and sets what the servers know."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.unit.deploy.deployed_settings import (
    gateway_variables,
    kernel_cache,
    start_seconds,
    triton_variables,
)
from tests.unit.deploy.helm import CHART
from triton_models.settings import REPOSITORY_ROOT


@pytest.fixture
def predictor() -> dict[str, Any]:
    """The example's predictor, whose fields beside KServe's own are those of a pod."""
    text = (REPOSITORY_ROOT / "deploy" / "kserve" / "inferenceservice.yaml").read_text()
    found: dict[str, Any] = yaml.safe_load(text)["spec"]["predictor"]
    return found


def test_it_is_a_pod_that_kubernetes_takes(predictor: dict[str, Any]) -> None:
    spec = {
        name: value
        for name, value in predictor.items()
        if name not in ("minReplicas", "maxReplicas", "timeout")
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": spec}
    kubernetes_validate.validate(pod, "1.35", strict=True)


def test_it_serves_the_chart_s_model_by_settings_that_the_servers_know(
    predictor: dict[str, Any],
) -> None:
    (container,) = predictor["containers"]
    variables = {each["name"]: each["value"] for each in container["env"]}
    model = yaml.safe_load((CHART / "values.yaml").read_text())["model"]
    assert variables.pop("STORAGE_URI") == f"hf://{model['name']}:{model['revision']}"
    # Where KServe's storage initializer puts it.
    assert variables["MODEL_NAME"] == "/mnt/models"
    assert variables.keys() <= triton_variables() | gateway_variables()
    mounted = {each["mountPath"] for each in container["volumeMounts"]}
    assert {kernel_cache(), "/tmp", "/dev/shm", "/data/vectors"} <= mounted
    assert {each["name"] for each in container["volumeMounts"]} == {
        each["name"] for each in predictor["volumes"]
    }


def test_kubernetes_is_as_patient_as_the_supervisor(predictor: dict[str, Any]) -> None:
    (container,) = predictor["containers"]
    assert "START_SECONDS" not in {each["name"] for each in container["env"]}
    probe = container["startupProbe"]
    assert probe["failureThreshold"] * probe["periodSeconds"] >= start_seconds()

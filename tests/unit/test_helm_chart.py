"""The chart renders what Kubernetes takes, and what it renders fits together and the servers."""

from __future__ import annotations

import base64
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.unit.deployed_settings import gateway_variables, kernel_cache, triton_variables
from tests.unit.helm import CHART, HelmError, lint, notes, render
from triton_models import control
from triton_models.settings import REPOSITORY_ROOT

KEYS = {"apiKeys": {"entries": [{"name": "a", "role": "user", "sha256": "0" * 64}]}}
CASES: dict[str, tuple[list[str], dict[str, Any]]] = {
    "demo": (["values-demo.yaml"], {}),
    "1.5b": (["values-1.5b.yaml"], KEYS),
    "3b": (["values-3b.yaml"], KEYS),
    "7b on two GPUs": (
        ["values-7b.yaml"],
        {**KEYS, "triton": {"gpus": 2, "env": {"KV_CACHE_TOKENS": "9000"}}},
    ),
    "hpa": ([], {**KEYS, "autoscaling": {"kind": "hpa"}}),
    "everything": (
        [],
        {
            "apiKeys": {"existingSecret": "keys"},
            "controlKey": {"existingSecret": "control"},
            "policy": {"default": {}},
            "data": {
                "vectorsConfigMap": "vectors",
                "models": {"storageClass": "fast"},
                "hubToken": {"name": "hub", "key": "token"},
            },
            "ingress": {"enabled": True, "tlsSecret": "tls"},
            "autoscaling": {"kind": "keda"},
            "monitoring": {
                "serviceMonitor": {"enabled": True, "labels": {"release": "x"}},
                "rules": {"enabled": True},
            },
            "gateway": {
                "env": {"RATE_LIMIT_REQUESTS": "60/minute"},
                "envFromSecrets": {"RATE_LIMIT_STORAGE": {"name": "redis", "key": "url"}},
                "podAnnotations": {"a": "b"},
                "service": {"annotations": {"a": "b"}},
            },
            "triton": {"runtimeClassName": "nvidia", "nodeSelector": {"gpu": "a"}},
            "networkPolicy": {
                "gatewayFrom": [{"namespaceSelector": {"matchLabels": {"a": "b"}}}],
                "gatewayEgress": [{"ports": [{"port": 6379}]}],
            },
        },
    ),
    "external keys": ([], {"apiKeys": {"external": {"store": "vault", "key": "persona/keys"}}}),
}
CUSTOM = {"ScaledObject", "ServiceMonitor", "PrometheusRule", "ExternalSecret"}
"""Kinds that operators define: Kubernetes itself has no schema of them."""


@pytest.fixture(scope="module", params=CASES)
def resources(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """What a case renders."""
    files, values = CASES[request.param]
    return render(*files, **values)


def of_kind(resources: list[dict[str, Any]], kind: str, part: str = "") -> list[dict[str, Any]]:
    return [
        each
        for each in resources
        if each["kind"] == kind and each["metadata"]["name"].endswith(part)
    ]


def pods(resources: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns the templates of all pods by name."""
    found = {
        each["metadata"]["name"]: each["spec"]["template"]
        for each in resources
        if each["kind"] in ("StatefulSet", "Deployment")
    }
    return found | {each["metadata"]["name"]: each for each in of_kind(resources, "Pod")}


def variables(template: dict[str, Any]) -> dict[str, Any]:
    """Returns the variables of a pod's only container."""
    (container,) = template["spec"]["containers"]
    names = [each["name"] for each in container.get("env", [])]
    assert len(names) == len(set(names))
    return {each["name"]: each.get("value") for each in container.get("env", [])}


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
        if resource["kind"] in ("StatefulSet", "Deployment", "PodDisruptionBudget"):
            assert chosen(spec["selector"]["matchLabels"], labels) == 1
        if resource["kind"] == "NetworkPolicy":
            assert chosen(spec["podSelector"]["matchLabels"], labels) == 1
        if resource["kind"] == "ServiceMonitor":
            assert chosen(spec["selector"]["matchLabels"], services) == 1


def test_the_servers_know_every_variable_that_is_set(resources: list[dict[str, Any]]) -> None:
    for name, template in pods(resources).items():
        known = triton_variables() if name.endswith("triton") else gateway_variables()
        assert set(variables(template)) <= known


def test_pods_meet_the_restricted_security_standard(resources: list[dict[str, Any]]) -> None:
    for template in pods(resources).values():
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]


def test_probes_generate_where_a_model_is_and_ask_the_gateway_alone_where_not(
    resources: list[dict[str, Any]],
) -> None:
    (triton,) = of_kind(resources, "StatefulSet")
    (container,) = triton["spec"]["template"]["spec"]["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        interpreter, script = container[probe]["exec"]["command"]
        assert interpreter == "python3"
        assert (REPOSITORY_ROOT / script.removeprefix("/opt/persona/")).is_file()
        # Longer than the check's own limit, or it could not say what is wrong.
        assert container[probe]["timeoutSeconds"] > 10
    (gateway,) = of_kind(resources, "Deployment")
    (container,) = gateway["spec"]["template"]["spec"]["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/health"


def test_pods_have_the_time_to_drain(resources: list[dict[str, Any]]) -> None:
    for name, template in pods(resources).items():
        seconds = variables(template)
        drain = seconds.get("TRITON_EXIT_SECONDS") or seconds.get("SHUTDOWN_TIMEOUT")
        if drain is not None:
            grace = template["spec"]["terminationGracePeriodSeconds"]
            assert grace >= int(drain) + 15, name


def test_only_gateways_and_prometheus_reach_triton(resources: list[dict[str, Any]]) -> None:
    (policy,) = of_kind(resources, "NetworkPolicy", "triton")
    (gateway,) = of_kind(resources, "Deployment")
    from_gateway, from_prometheus = policy["spec"]["ingress"]
    labels = gateway["spec"]["template"]["metadata"]["labels"]
    (peer,) = from_gateway["from"]
    assert peer["podSelector"]["matchLabels"].items() <= labels.items()
    assert from_gateway["ports"] == [{"port": 8001}]
    assert from_prometheus["ports"] == [{"port": 8002}]
    assert "Egress" in policy["spec"]["policyTypes"]


def test_gateways_look_up_every_triton_pod(resources: list[dict[str, Any]]) -> None:
    (service,) = of_kind(resources, "Service", "triton")
    assert service["spec"]["clusterIP"] == "None"
    # A pod whose model is dead is not ready: the watchdog must still reach it.
    assert service["spec"]["publishNotReadyAddresses"] is True
    (gateway,) = of_kind(resources, "Deployment")
    url = variables(gateway["spec"]["template"])["TRITON_URL"]
    assert url == f"dns:///{service['metadata']['name']}.serving.svc:8001"
    (triton,) = of_kind(resources, "StatefulSet")
    assert triton["spec"]["serviceName"] == service["metadata"]["name"]


def test_triton_and_the_gateway_share_a_control_key(resources: list[dict[str, Any]]) -> None:
    secrets = {each["metadata"]["name"]: each.get("data") for each in of_kind(resources, "Secret")}
    references = [
        variable["valueFrom"]["secretKeyRef"]
        for resource in resources
        if resource["kind"] in ("StatefulSet", "Deployment")
        for container in resource["spec"]["template"]["spec"]["containers"]
        for variable in container["env"]
        if variable["name"] == control.VARIABLE
    ]
    first, second = references
    assert first == second
    if first["name"] == "control":
        assert not any(name.endswith("control-key") for name in secrets)
    else:
        made = secrets[first["name"]]
        assert made
        control.checked_key(base64.b64decode(made[first["key"]]).decode())


def test_every_installation_has_a_control_key_of_its_own() -> None:
    one, other = (of_kind(render(**KEYS), "Secret", "control-key")[0]["data"] for _ in range(2))
    assert one != other


def test_every_volume_that_is_mounted_is_there(resources: list[dict[str, Any]]) -> None:
    for resource in resources:
        if resource["kind"] not in ("StatefulSet", "Deployment"):
            continue
        spec = resource["spec"]["template"]["spec"]
        volumes = {each["name"] for each in spec.get("volumes", [])}
        volumes |= {
            each["metadata"]["name"] for each in resource["spec"].get("volumeClaimTemplates", [])
        }
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            assert {each["name"] for each in container["volumeMounts"]} <= volumes


def test_compiled_kernels_outlive_the_container(resources: list[dict[str, Any]]) -> None:
    (triton,) = of_kind(resources, "StatefulSet")
    spec = triton["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    mounts = {each["mountPath"]: each for each in container["volumeMounts"]}
    mount = mounts[kernel_cache()]
    assert not mount.get("readOnly")
    (volume,) = (each for each in spec["volumes"] if each["name"] == mount["name"])
    # On disk: in memory they would be part of the container's limit.
    assert volume["emptyDir"].keys() == {"sizeLimit"}


def test_all_gpus_of_a_replica_are_asked_for() -> None:
    files, values = CASES["7b on two GPUs"]
    (triton,) = of_kind(render(*files, **values), "StatefulSet")
    (container,) = triton["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 2


def test_what_scales_has_no_number_of_replicas_of_its_own() -> None:
    for kind, scaler in (("keda", "ScaledObject"), ("hpa", "HorizontalPodAutoscaler")):
        resources = render(**{**KEYS, "autoscaling": {"kind": kind}})
        (triton,) = of_kind(resources, "StatefulSet")
        assert "replicas" not in triton["spec"]
        (found,) = of_kind(resources, scaler, "triton")
        assert found["spec"]["scaleTargetRef"]["name"] == triton["metadata"]["name"]


def test_the_alerts_are_those_of_the_repository() -> None:
    files, values = CASES["everything"]
    (rule,) = of_kind(render(*files, **values), "PrometheusRule")
    alerts = REPOSITORY_ROOT / "deploy" / "prometheus" / "alerts.yaml"
    assert rule["spec"] == yaml.safe_load(alerts.read_text())


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "apiKeys: set existingSecret"),
        ({**KEYS, "triton": {"gpu": 1}}, "gpu"),
        ({**KEYS, "triton": {"gpus": "one"}}, "gpus"),
        ({**KEYS, "triton": {"drainSeconds": 90}}, "drainSeconds"),
        ({**KEYS, "autoscaling": {"kind": "vpa"}}, "kind"),
        ({"apiKeys": {"entries": [{"name": "a"}]}}, "sha256"),
        ({**KEYS, "gateway": {"env": {"rate-limit": "1"}}}, "rate-limit"),
    ],
)
def test_values_that_are_wrong_are_refused_by_name(values: dict[str, Any], says: str) -> None:
    with pytest.raises(HelmError, match=says):
        render(**values)


def test_the_schema_knows_every_value_of_the_chart() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    values["apiKeys"]["allowAnonymous"] = True
    assert lint(**values) == []


def test_notes_warn_of_an_open_gateway_and_of_missing_vectors() -> None:
    assert "nobody needs a key" in notes("values-demo.yaml")
    assert "there are no vectors" in notes(**KEYS)
    assert "WARNING" not in notes(**KEYS, data={"vectorsConfigMap": "vectors"})

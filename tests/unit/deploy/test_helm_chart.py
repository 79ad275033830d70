"""The chart renders what Kubernetes takes, and what it renders fits together and the servers."""

from __future__ import annotations

import base64
import re
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from gateway.app import create_app
from gateway.settings import Settings
from tests.unit.deploy.deployed_settings import gateway_variables, kernel_cache, triton_variables
from tests.unit.deploy.helm import CHART, HelmError, lint, notes, render
from triton_models import control
from triton_models.settings import DEFAULT_MODEL, REPOSITORY_ROOT

KEYS = {"apiKeys": {"entries": [{"name": "a", "role": "user", "sha256": "0" * 64}]}}
SECRET = {"name": "secret", "key": "entry"}
SHARED = {"data": {"models": {"volume": "shared"}}}
POD: dict[str, Any] = {
    "env": {"LOG_LEVEL": "DEBUG"},
    "serviceAccountName": "persona",
    "priorityClassName": "high",
    "runtimeClassName": "nvidia",
    "nodeSelector": {"gpu": "a"},
    "tolerations": [{"key": "a", "operator": "Exists"}],
    "affinity": {
        "podAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "zone", "labelSelector": {"matchLabels": {"a": "b"}}}
            ]
        }
    },
    "topologySpread": [{"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
    "podAnnotations": {"a": "b"},
    "extraVolumes": [{"name": "extra", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "extra", "mountPath": "/extra"}],
    "extraInitContainers": [{"name": "first", "image": "busybox:1"}],
}
CASES: dict[str, tuple[list[str], dict[str, Any]]] = {
    "demo": (["values-demo.yaml"], {}),
    "1.5b": (["values-1.5b.yaml"], KEYS),
    "3b": (["values-3b.yaml"], KEYS),
    "7b on two GPUs": (
        ["values-7b.yaml"],
        {**KEYS, "triton": {"gpus": 2, "env": {"KV_CACHE_TOKENS": "9000"}}},
    ),
    "hpa": ([], {**KEYS, "autoscaling": {"kind": "hpa"}, **SHARED}),
    "ephemeral": (
        [],
        {
            **KEYS,
            "triton": {"replicas": 2, "http": True},
            "data": {"models": {"volume": "ephemeral", "storageClass": "fast"}},
            "hub": {"caConfigMap": "ca"},
        },
    ),
    "a claim of one's own": (
        [],
        {**KEYS, "data": {"models": {"volume": "shared", "existingClaim": "m", "fetch": False}}},
    ),
    "openshift": (["values-openshift.yaml"], KEYS),
    "everything": (
        [],
        {
            "imagePullSecrets": [{"name": "registry"}],
            "apiKeys": {"existingSecret": "keys"},
            "accessKey": {"existingSecret": "access"},
            "policy": {"default": {}},
            "data": {
                "vectorsConfigMap": "vectors",
                "models": {"volume": "shared", "storageClass": "fast", "keep": True},
            },
            "hub": {
                "token": SECRET,
                "env": {"HF_ENDPOINT": "https://hub.example.com"},
                "envFromSecrets": {"HTTPS_PROXY": SECRET},
                "caConfigMap": "ca",
            },
            "ingress": {"enabled": True, "tlsSecret": "tls"},
            "httpRoute": {"enabled": True, "parentRefs": [{"name": "gateway"}]},
            "autoscaling": {
                "kind": "keda",
                "authentication": {
                    "modes": "bearer",
                    "secretTargetRef": [{"parameter": "bearerToken", **SECRET}],
                },
            },
            "monitoring": {
                "serviceMonitor": {"enabled": True, "labels": {"release": "x"}},
                "rules": {"enabled": True},
                "dashboard": {"enabled": True},
                "apiKeySecret": SECRET,
            },
            "rateLimits": {
                "requests": "60/minute",
                "tokens": "20000/minute",
                "redis": {**SECRET, "port": 6380},
            },
            "gateway": {
                **POD,
                "trustedProxies": ["10.0.0.0/8", "fd00::/8"],
                "envFromSecrets": {"CORS_ORIGINS": SECRET},
                "service": {"annotations": {"a": "b"}},
            },
            "triton": {
                **POD,
                "gpuResource": "nvidia.com/mig-3g.40gb",
                "envFromSecrets": {"KV_CACHE_TOKENS": SECRET},
            },
            "networkPolicy": {
                "gatewayFrom": [{"namespaceSelector": {"matchLabels": {"a": "b"}}}],
                "tritonFrom": [{"podSelector": {"matchLabels": {"a": "b"}}}],
                "gatewayEgress": [{"ports": [{"port": 4318}]}],
                "hubPorts": [3128],
            },
            "test": {"apiKeySecret": SECRET},
        },
    ),
    "external keys": ([], {"apiKeys": {"external": {"store": "vault", "key": "persona/keys"}}}),
}
CUSTOM = {
    "ScaledObject",
    "TriggerAuthentication",
    "ServiceMonitor",
    "PrometheusRule",
    "ExternalSecret",
    "HTTPRoute",
}
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
        if each["kind"] in ("Deployment", "Job")
    }
    return found | {each["metadata"]["name"]: each for each in of_kind(resources, "Pod")}


def container_of(template: dict[str, Any]) -> dict[str, Any]:
    """Returns a pod's only container."""
    (container,) = template["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def variables(container: dict[str, Any]) -> dict[str, Any]:
    """Returns a container's variables."""
    names = [each["name"] for each in container.get("env", [])]
    assert len(names) == len(set(names))
    return {each["name"]: each.get("value") for each in container.get("env", [])}


def part_of(resources: list[dict[str, Any]], part: str) -> dict[str, Any]:
    """Returns the template of the pods of a part."""
    (template,) = (
        template
        for template in pods(resources).values()
        if template["metadata"]["labels"]["app.kubernetes.io/component"] == part
    )
    return template


def rendered(case: str, **values: Any) -> list[dict[str, Any]]:
    files, more = CASES[case]
    return render(*files, **{**more, **values})


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


HUB_VARIABLES = {"HF_TOKEN", "HF_ENDPOINT", "HTTPS_PROXY", "SSL_CERT_FILE"}
"""What the hub's own library reads: tests/unit/scripts/test_download_models.py."""


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


def test_gateways_look_up_every_triton_pod(resources: list[dict[str, Any]]) -> None:
    (service,) = of_kind(resources, "Service", "triton")
    assert service["spec"]["clusterIP"] == "None"
    # A pod whose model is dead is not ready: Prometheus must still reach its supervisor.
    assert service["spec"]["publishNotReadyAddresses"] is True
    url = variables(container_of(part_of(resources, "gateway")))["TRITON_URL"]
    assert url == f"dns:///{service['metadata']['name']}.serving.svc:8001"


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


MODELS = {
    "1.5b": ("ReadWriteOnce", "pod"),
    "ephemeral": ("ReadWriteOnce", "pod"),
    "hpa": ("ReadWriteMany", "job"),
    "everything": ("ReadWriteMany", "job"),
    "a claim of one's own": ("", ""),
    "demo": ("", ""),
}


@pytest.mark.parametrize("case", MODELS)
def test_a_model_is_fetched_once_for_each_volume_and_never_written_by_who_serves_it(
    case: str,
) -> None:
    access, fetched_by = MODELS[case]
    resources = rendered(case)
    spec = part_of(resources, "triton")["spec"]
    mounts = {each["mountPath"]: each for each in spec["containers"][0]["volumeMounts"]}
    served = mounts.get("/data/models") or mounts["/data"]
    assert served["readOnly"] is True
    first = {each["name"]: each for each in spec.get("initContainers", [])}
    jobs = of_kind(resources, "Job")
    assert ("fetch-model" in first) == (fetched_by == "pod")
    assert ("wait-for-model" in first) == (fetched_by == "job") == bool(jobs)
    if fetched_by != "pod":
        volume = next(each for each in spec["volumes"] if each["name"] == served["name"])
        assert volume["persistentVolumeClaim"].get("readOnly", False) or case == "demo"
    if fetched_by == "job":
        assert "--wait=3600" in first["wait-for-model"]["command"]
        job = jobs[0]["spec"]["template"]["spec"]
        assert job["volumes"][1]["persistentVolumeClaim"]["claimName"] in {
            each["metadata"]["name"] for each in of_kind(resources, "PersistentVolumeClaim")
        }
        # Its volume is made where Tritons run.
        assert (job.get("nodeSelector"), job["tolerations"]) == (
            spec.get("nodeSelector"),
            spec["tolerations"],
        )
    claims = [each["spec"]["accessModes"] for each in of_kind(resources, "PersistentVolumeClaim")]
    claims += [
        each["ephemeral"]["volumeClaimTemplate"]["spec"]["accessModes"]
        for each in spec["volumes"]
        if "ephemeral" in each
    ]
    assert claims == ([[access]] if access else [])


def test_every_replica_serves_the_revision_that_was_fetched(
    resources: list[dict[str, Any]],
) -> None:
    revisions = {
        variables(container).get("MODEL_REVISION")
        for template in pods(resources).values()
        for container in [
            *template["spec"]["containers"],
            *template["spec"].get("initContainers", []),
        ]
        if container["name"] in ("triton", "fetch-model", "wait-for-model")
    }
    (revision,) = revisions
    assert revision is not None
    assert re.fullmatch(r"[0-9a-f]{40}|", revision)


def test_no_upgrade_changes_what_cannot_be_changed() -> None:
    """Claims and jobs are immutable: what differs in them must have another name."""
    bases = [
        render(*files, **{**KEYS, **values})
        for files, values in (
            (["values-1.5b.yaml"], {}),
            (["values-7b.yaml"], {}),
            ([], {"data": {"models": {"size": "90Gi"}}}),
            ([], {"data": {"models": {"storageClass": "other"}}}),
            ([], SHARED),
            ([], {**SHARED, "model": {"name": "Qwen/Qwen2.5-7B-Instruct"}}),
            ([], {**SHARED, "model": {"revision": "b" * 40}}),
            ([], {**SHARED, "triton": {"image": {"tag": "2"}}}),
            ([], {"data": {"existingClaim": "mine"}}),
        )
    ]
    seen: dict[tuple[str, str], Any] = {}
    for resources in bases:
        for resource in resources:
            if resource["kind"] in ("PersistentVolumeClaim", "Job"):
                key = (resource["kind"], resource["metadata"]["name"])
                assert seen.setdefault(key, resource["spec"]) == resource["spec"]
            if resource["kind"] == "Deployment":
                name = (resource["kind"], resource["metadata"]["name"])
                selector = resource["spec"]["selector"]
                assert seen.setdefault(name, selector) == selector
        assert not of_kind(resources, "StatefulSet")
    claims = [name for kind, name in seen if kind == "PersistentVolumeClaim"]
    # Both sizes of model have one claim.
    assert len(claims) == 4
    assert len([name for kind, name in seen if kind == "Job"]) == 4


def test_a_claim_is_kept_if_that_is_asked_for() -> None:
    for case, kept in (("everything", True), ("1.5b", False)):
        (claim,) = of_kind(rendered(case), "PersistentVolumeClaim")
        policy = claim["metadata"].get("annotations", {}).get("helm.sh/resource-policy")
        assert (policy == "keep") == kept


def test_compiled_kernels_outlive_the_container(resources: list[dict[str, Any]]) -> None:
    spec = part_of(resources, "triton")["spec"]
    mounts = {each["mountPath"]: each for each in spec["containers"][0]["volumeMounts"]}
    mount = mounts[kernel_cache()]
    assert not mount.get("readOnly")
    (volume,) = (each for each in spec["volumes"] if each["name"] == mount["name"])
    # On disk: in memory they would be part of the container's limit.
    assert volume["emptyDir"].keys() == {"sizeLimit"}


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


def test_proxies_and_a_shared_redis_reach_the_gateways_settings() -> None:
    resources = rendered("everything")
    container = container_of(part_of(resources, "gateway"))
    assert variables(container)["TRUSTED_PROXIES"] == "10.0.0.0/8,fd00::/8"
    assert variables(container)["RATE_LIMIT_REQUESTS"] == "60/minute"
    assert {
        "name": "RATE_LIMIT_STORAGE", "valueFrom": {"secretKeyRef": SECRET},
    } in container["env"]  # fmt: skip
    (policy,) = of_kind(resources, "NetworkPolicy", "gateway")
    assert {"ports": [{"port": 6380}]} in policy["spec"]["egress"]


def test_a_hub_behind_a_proxy_with_an_authority_of_its_own_is_reached() -> None:
    resources = rendered("everything")
    template = part_of(resources, "fetch-model")
    assert variables(container_of(template)).keys() >= HUB_VARIABLES
    mounts = {each["name"]: each["mountPath"] for each in container_of(template)["volumeMounts"]}
    assert variables(container_of(template))["SSL_CERT_FILE"] == f"{mounts['hub-ca']}/ca.crt"
    (policy,) = of_kind(resources, "NetworkPolicy", "fetch-model")
    assert {"ports": [{"port": 3128}]} in policy["spec"]["egress"]


def served_paths() -> set[str]:
    """Returns all that the gateway serves, with something in place of parameters."""
    paths = {*create_app(Settings()).openapi()["paths"], "/docs", "/openapi.json"}
    return {re.sub(r"{\w+}", "x", path) for path in paths} | {"/playground/app.js"}


def test_all_but_metrics_is_let_in_from_outside() -> None:
    resources = rendered("everything")
    (ingress,) = of_kind(resources, "Ingress")
    (rule,) = ingress["spec"]["rules"]
    open_paths = [(each["path"], each["pathType"]) for each in rule["http"]["paths"]]
    (route,) = of_kind(resources, "HTTPRoute")
    (matches,) = (each["matches"] for each in route["spec"]["rules"])
    assert [(each["path"]["value"], each["path"]["type"]) for each in matches] == [
        (path, {"Prefix": "PathPrefix"}.get(kind, kind)) for path, kind in open_paths
    ]
    # As many as a rule may have.
    assert len(matches) <= 8

    def is_open(path: str) -> bool:
        return any(
            path == start or (kind == "Prefix" and path.startswith(f"{start}/"))
            for start, kind in open_paths
        )

    assert {path for path in served_paths() if not is_open(path)} == {"/metrics"}
    assert not is_open("/metrics/")


ANONYMOUS: dict[str, Any] = {
    "apiKeys": {"allowAnonymous": True},
    "ingress": {"enabled": True, "host": "a.example"},
    "httpRoute": {
        "enabled": True,
        "parentRefs": [{"name": "gateway"}],
        "hostnames": ["a.example", "b.example"],
    },
}


@pytest.mark.parametrize(
    ("values", "hosts"),
    [
        (ANONYMOUS, ["demo-gateway.serving", "a.example", "b.example"]),
        ({"apiKeys": {"allowAnonymous": True}}, ["demo-gateway.serving"]),
        ({**ANONYMOUS, "gateway": {"env": {"ALLOWED_HOSTS": "c.example"}}}, ["c.example"]),
        ({**ANONYMOUS, **KEYS}, None),
    ],
)
def test_gateways_without_keys_know_the_names_they_are_asked_for_by(
    values: dict[str, Any], hosts: list[str] | None
) -> None:
    said = variables(container_of(part_of(render(**values), "gateway"))).get("ALLOWED_HOSTS")
    assert (said and list(Settings(allowed_hosts=said).allowed_hosts)) == hosts


def test_a_wildcard_is_refused_where_each_name_has_to_be_known() -> None:
    values = {**ANONYMOUS, "httpRoute": {**ANONYMOUS["httpRoute"], "hostnames": ["*.example"]}}
    with pytest.raises(HelmError, match=r"list the names in gateway\.env\.ALLOWED_HOSTS"):
        render(**values)
    assert render(**values, gateway={"env": {"ALLOWED_HOSTS": "a.example"}})


def test_uploads_and_long_answers_pass_the_ingress() -> None:
    (ingress,) = of_kind(rendered("everything"), "Ingress")
    annotations = ingress["metadata"]["annotations"]
    size = annotations["nginx.ingress.kubernetes.io/proxy-body-size"]
    assert int(size.removesuffix("m")) * 2**20 > Settings().max_vector_bytes
    wait = annotations["nginx.ingress.kubernetes.io/proxy-read-timeout"]
    assert int(wait) > Settings().request_timeout


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


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "apiKeys: set existingSecret"),
        ({**KEYS, "triton": {"gpu": 1}}, "gpu"),
        ({**KEYS, "triton": {"gpus": "one"}}, "gpus"),
        ({**KEYS, "triton": {"drainSeconds": -1}}, "drainSeconds"),
        ({**KEYS, "triton": {"resources": {"limits": {"memory": "1.5Gi"}}}}, "memory"),
        ({**KEYS, "triton": {"replicas": 2}}, "data.models.volume: single is for one replica"),
        ({**KEYS, "autoscaling": {"kind": "hpa"}}, "data.models.volume: single is for one"),
        ({**KEYS, "hub": {"token": {"name": "a"}}}, "token"),
        ({**KEYS, "controlKey": {"existingSecret": "a"}}, "controlKey"),
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


def test_notes_warn_of_what_is_open_missing_or_shared_by_mistake() -> None:
    assert "nobody needs a key" in notes("values-demo.yaml")
    assert "there are no vectors" in notes(**KEYS)
    assert "WARNING" not in notes(**KEYS, data={"vectorsConfigMap": "vectors"})
    limited = {**KEYS, "rateLimits": {"requests": "60/minute"}}
    assert "set rateLimits.redis" in notes(**limited)
    assert "set gateway.trustedProxies" in notes("values-demo.yaml", httpRoute={"enabled": True})
    assert "trustedProxies" not in notes(
        "values-demo.yaml", httpRoute={"enabled": True}, gateway={"trustedProxies": ["10.0.0.1"]}
    )


def test_the_default_model_may_be_used_by_everybody() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert values["model"]["name"] == DEFAULT_MODEL
    smallest = yaml.safe_load((CHART / "values-1.5b.yaml").read_text())
    assert values["model"] == smallest["model"]


def test_helm_s_test_is_a_program_that_runs() -> None:
    pod = part_of(rendered("everything"), "test")
    *command, code, url = container_of(pod)["command"]
    assert command == ["python", "-c"]
    assert url == "http://demo-gateway:80"
    compile(code, "steers.py", "exec")
    assert "check" in runpy.run_path(str(CHART / "files" / "steers.py"))

"""Values that the chart is rendered with, and what is looked up in what it renders."""

from __future__ import annotations

from typing import Any

from tests.unit.deploy.helm import render

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


HUB_VARIABLES = {"HF_TOKEN", "HF_ENDPOINT", "HTTPS_PROXY", "SSL_CERT_FILE"}
"""What the hub's own library reads: tests/unit/scripts/test_download_models.py."""

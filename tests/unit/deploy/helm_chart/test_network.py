"""Gateways find Triton, Redis and the hub; what is let in from outside, and under which names."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gateway.app import create_app
from gateway.settings import Settings
from tests.unit.deploy.helm import HelmError, render
from tests.unit.deploy.helm_chart.cases import (
    HUB_VARIABLES,
    KEYS,
    SECRET,
    container_of,
    of_kind,
    part_of,
    rendered,
    variables,
)


def test_gateways_look_up_every_triton_pod(resources: list[dict[str, Any]]) -> None:
    (service,) = of_kind(resources, "Service", "triton")
    assert service["spec"]["clusterIP"] == "None"
    # A pod whose model is dead is not ready: Prometheus must still reach its supervisor.
    assert service["spec"]["publishNotReadyAddresses"] is True
    url = variables(container_of(part_of(resources, "gateway")))["TRITON_URL"]
    assert url == f"dns:///{service['metadata']['name']}.serving.svc:8001"


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
    rules = [each["matches"] for each in route["spec"]["rules"]]
    matches = [match for each in rules for match in each]
    assert [(each["path"]["value"], each["path"]["type"]) for each in matches] == [
        (path, {"Prefix": "PathPrefix"}.get(kind, kind)) for path, kind in open_paths
    ]
    # As many as a rule may have.
    assert max(map(len, rules)) <= 8

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

"""Compose takes the files, they name settings that exist, and they open no more than they say."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from launcher.triton_process import EXIT_SECONDS
from tests.unit.deploy.deployed_settings import (
    gateway_variables,
    kernel_cache,
    start_seconds,
    triton_variables,
)
from tests.unit.deploy.health_check import exit_codes
from triton_models.settings import DEFAULT_MODEL, REPOSITORY_ROOT

FOLDER = REPOSITORY_ROOT / "deploy" / "compose"
SECRETS = {"GRAFANA_PASSWORD": "secret", "TRITON_ACCESS_KEY": "k" * 40}
ALL = ("compose.yaml", "compose.gpu.yaml", "compose.keys.yaml")


def config(*files: str, **variables: str) -> dict[str, Any]:
    """Returns what Compose makes of files, with variables as of .env."""
    command = ["docker-compose", *(part for file in files for part in ("-f", file))]
    environment = {**os.environ, **SECRETS, **variables}
    ended = subprocess.run(
        [*command, "config", "--format", "json"],
        cwd=FOLDER,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


@pytest.fixture(params=[ALL[:1], ALL[:2], (ALL[0], ALL[2]), ALL])
def services(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The services of a combination of files."""
    found: dict[str, Any] = config(*request.param)["services"]
    return found


def test_the_servers_know_every_variable_that_is_set(services: dict[str, Any]) -> None:
    assert set(services["triton"]["environment"]) <= triton_variables()
    assert set(services["gateway"]["environment"]) <= gateway_variables()


def test_triton_is_reached_by_the_gateway_and_prometheus_alone(services: dict[str, Any]) -> None:
    assert "ports" not in services["triton"]
    assert set(services["triton"]["networks"]) == {"model"}
    assert config(*ALL)["networks"]["model"]["internal"] is True
    near = {name for name, service in services.items() if "model" in service["networks"]}
    assert near == {"triton", "gateway", "prometheus"}


def test_what_is_published_is_published_on_loopback(services: dict[str, Any]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert len(published) == 2
    assert {port["host_ip"] for port in published} == {"127.0.0.1"}


def test_every_container_is_without_rights(services: dict[str, Any]) -> None:
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_other_people_s_images_have_a_version(services: dict[str, Any]) -> None:
    for name in ("prometheus", "grafana"):
        _, _, version = services[name]["image"].partition(":")
        assert version not in ("", "latest")


def test_containers_have_the_time_to_drain(services: dict[str, Any]) -> None:
    triton, gateway = services["triton"], services["gateway"]
    assert triton["stop_grace_period"] == "50s"
    assert int(triton["environment"]["TRITON_EXIT_SECONDS"]) + EXIT_SECONDS + 5 <= 50
    assert gateway["stop_grace_period"] == "30s"
    assert int(gateway["environment"]["SHUTDOWN_TIMEOUT"]) + 5 <= 30


def test_the_gateway_waits_for_a_triton_that_is_ready(services: dict[str, Any]) -> None:
    assert services["gateway"]["depends_on"]["triton"]["condition"] == "service_healthy"
    check = services["triton"]["healthcheck"]
    assert check["start_period"] == f"{start_seconds() // 60}m0s"
    _, _, *arguments = check["test"]
    assert exit_codes(arguments, "STATUS_PORT", "/ready") == [0, 1, 1]


@pytest.mark.parametrize("missing", SECRETS)
def test_without_a_secret_nothing_starts(missing: str) -> None:
    environment = {**os.environ, **SECRETS, missing: ""}
    command = ["docker-compose", "-f", "compose.yaml", "config", "-q"]
    ended = subprocess.run(command, cwd=FOLDER, env=environment, capture_output=True, text=True)
    assert ended.returncode != 0
    assert f"set {missing}" in ended.stderr


def test_triton_and_the_gateway_share_an_access_key_and_no_control_key(
    services: dict[str, Any],
) -> None:
    for name in ("triton", "gateway"):
        environment = services[name]["environment"]
        assert environment["TRITON_ACCESS_KEY"] == SECRETS["TRITON_ACCESS_KEY"]
        assert "TRITON_CONTROL_KEY" not in environment


def test_metrics_are_nobody_s_but_prometheus_once_there_are_keys() -> None:
    plain, keys = config(ALL[0])["services"], config(ALL[0], ALL[2])["services"]
    for services in (plain, keys):
        assert "METRICS_PUBLIC" not in services["gateway"]["environment"]
        (secret,) = services["prometheus"]["secrets"]
        (mounted,) = (
            volume["source"]
            for volume in services["prometheus"]["volumes"]
            if volume["target"] == "/etc/prometheus/prometheus.yaml"
        )
        jobs = yaml.safe_load(Path(mounted).read_text())["scrape_configs"]
        with_key = {job["job_name"]: job["authorization"] for job in jobs if "authorization" in job}
        assert list(with_key) == ["persona-gateway"]
        file = with_key["persona-gateway"]["credentials_file"]
        assert file in (secret["target"], f"/run/secrets/{secret['target']}")
    files = [config(*names)["secrets"]["prometheus_key"]["file"] for names in (ALL[:1], ALL)]
    assert [Path(file).name for file in files] == ["null", "prometheus.key"]


def test_the_bases_and_the_images_have_variables_of_their_own() -> None:
    base = config(ALL[0], TRITON_IMAGE="nvcr.io/nvidia/tritonserver:26.02-py3")["services"][
        "triton"
    ]
    assert base["image"] == "persona-triton:latest"
    assert base["build"]["args"] == {"TRITON_IMAGE": "nvcr.io/nvidia/tritonserver:26.02-py3"}
    named = config(ALL[0], PERSONA_TRITON_IMAGE="registry/persona-triton:1")["services"]["triton"]
    assert named["image"] == "registry/persona-triton:1"
    assert "args" not in named["build"]


def test_the_default_model_on_gpus_may_be_used_by_everybody() -> None:
    services = config(*ALL[:2], MODEL_NAME="")["services"]
    for name in ("triton", "gateway"):
        assert services[name]["environment"]["MODEL_NAME"] == DEFAULT_MODEL


def test_every_file_that_is_mounted_is_there(services: dict[str, Any]) -> None:
    for service in services.values():
        for volume in service.get("volumes", []):
            if volume["type"] == "bind":
                assert os.path.exists(volume["source"]), volume["source"]


def test_compiled_kernels_outlive_the_container(services: dict[str, Any]) -> None:
    volumes = {each["target"]: each for each in services["triton"]["volumes"]}
    kernels = volumes[kernel_cache()]
    assert kernels["type"] == "volume"
    assert not kernels.get("read_only")
    assert kernels["source"] in config(*ALL)["volumes"]


def test_prometheus_scrapes_the_services_under_the_names_of_the_alerts() -> None:
    jobs = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())["scrape_configs"]
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in jobs}
    assert targets == {
        "persona-gateway": ["gateway:8000"],
        "persona-triton": ["triton:8002"],
        "persona-supervisor": ["triton:8004"],
    }
    # The supervisor's metrics are reached there.
    assert "8004" in config(*ALL)["services"]["triton"]["expose"]
    alerts = (REPOSITORY_ROOT / "deploy/prometheus/alerts.yaml").read_text()
    assert all(f'job="{name}"' in alerts for name in targets)

"""What the operators' pages name exists: commands, variables, metrics, alerts, files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
import yaml

from gateway.settings import Settings
from persona_client.cli.app import app
from tests.unit.deploy.deployed_settings import gateway_variables, triton_variables
from triton_models.settings import REPOSITORY_ROOT

RUNBOOK = REPOSITORY_ROOT / "docs" / "runbook.md"
PAGES = [
    *(
        REPOSITORY_ROOT / "docs" / f"{name}.md"
        for name in (
            "compatibility",
            "containers",
            "kubernetes",
            "load-balancing",
            "sizing",
            "supply-chain",
            "triton-security",
        )
    ),
    REPOSITORY_ROOT / "deploy" / "compose" / "README.md",
    REPOSITORY_ROOT / "deploy" / "runpod" / "README.md",
    RUNBOOK,
]
OTHER_VARIABLES = {
    "GATEWAY_ADDRESS",
    "GRAFANA_PASSWORD",
    "HOME",
    "NVIDIA_DISABLE_REQUIRE",
    "PERSONA_API_KEY",
    "RUNPOD_API_KEY",
    "TRITON_IMAGE",
    "PYTHON_IMAGE",
    "PERSONA_TRITON_IMAGE",
    "PERSONA_GATEWAY_IMAGE",
    "COSIGN_KEY",
    "HF_ENDPOINT",
    "HF_HUB_DISABLE_XET",
    "HTTPS_PROXY",
}
"""Those of Compose's files, the client, scripts, the system and NVIDIA's container runtime."""


@pytest.fixture(
    params=PAGES, ids=lambda path: path.name if path.name != "README.md" else path.parent.name
)
def page(request: pytest.FixtureRequest) -> str:
    """The text of a page."""
    path: Path = request.param
    return path.read_text()


def commands() -> dict[str, set[str]]:
    """Returns the commands of `persona`, and those below each."""
    found = typer.main.get_command(app)
    return {
        name: set(getattr(command, "commands", {}))
        for name, command in getattr(found, "commands", {}).items()
    }


def test_every_command_of_persona_exists(page: str) -> None:
    known = commands()
    code = "\n".join(
        re.findall(r"`([^`\n]+)`", page) + re.findall(r"```bash\n(.*?)```", page, re.S)
    )
    for name, below in re.findall(r"(?<![\w/.-])persona ([a-z]+)(?: ([a-z]+))?", code):
        if not re.search(rf"helm \w+ persona {name}", code):
            assert name in known, name
        if known.get(name) and below:
            assert below in known[name], f"persona {name} {below}"


def test_every_script_exists(page: str) -> None:
    for path in re.findall(r"\./((?:scripts|deploy)/[\w./-]+\.(?:sh|py))", page):
        assert (REPOSITORY_ROOT / path).is_file(), path


def test_every_variable_is_read_by_something(page: str) -> None:
    known = triton_variables() | gateway_variables() | OTHER_VARIABLES
    named = set(re.findall(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=[^`]*)?`", page))
    assert named <= known, named - known


def test_every_alert_has_its_section_and_every_section_its_alert() -> None:
    rules = yaml.safe_load((REPOSITORY_ROOT / "deploy/prometheus/alerts.yaml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    sections = re.findall(r"^### (Persona\w+)$", RUNBOOK.read_text(), re.M)
    assert len(sections) == len(set(sections))
    assert set(sections) == alerts


def test_every_metric_is_documented(page: str) -> None:
    documented = (REPOSITORY_ROOT / "docs" / "metrics.md").read_text()
    for name in re.findall(r"`(persona_[a-z_]+)`", page):
        assert name in documented, name


def test_nobody_is_told_to_reuse_values_that_a_new_chart_may_lack(page: str) -> None:
    assert not re.search(r"helm upgrade [^`]*--reuse-values", page)


def test_the_timeouts_that_the_pages_name_are_the_defaults() -> None:
    settings = Settings()
    assert settings.shutdown_timeout == 20
    assert settings.request_timeout == 300
    assert settings.max_body_bytes == 2**20

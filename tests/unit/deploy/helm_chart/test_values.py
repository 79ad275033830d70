"""Values: wrong ones are refused by name, and the notes warn of what is open or missing."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.unit.deploy.helm import CHART, HelmError, lint, notes, render
from tests.unit.deploy.helm_chart.cases import KEYS
from triton_models.settings import DEFAULT_MODEL


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

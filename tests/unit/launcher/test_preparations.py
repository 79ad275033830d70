"""The variables of what is made ready before the servers start."""

from __future__ import annotations

import pytest

from gateway.settings import Settings
from launcher import preflight, stack
from launcher.errors import LaunchError
from triton_models.variables import SettingsError


@pytest.mark.parametrize("name", ["SERVE_AS", "FETCH_MODEL", "ALLOW_ANONYMOUS"])
def test_a_value_that_cannot_be_used_is_refused_by_name(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is 'maybe': use "):
        preflight.prepare({name: "maybe"}, with_gateway=False)


def test_a_flag_is_read_as_everywhere() -> None:
    preflight.prepare({"ALLOW_ANONYMOUS": "True"}, with_gateway=True)
    with pytest.raises(LaunchError, match="set API_KEYS"):
        preflight.prepare({"ALLOW_ANONYMOUS": "False"}, with_gateway=True)


def test_what_the_gateway_protects_with_are_variables_of_the_gateway() -> None:
    assert set(stack._PROTECTION) <= Settings.variables().keys()

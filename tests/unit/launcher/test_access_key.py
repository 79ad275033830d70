"""Which secret Triton requires to generate, by where it listens and what the gateway checks."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.errors import LaunchError
from launcher.settings import StackSettings
from launcher.stack import Stack, choose_access_key
from triton_models import control
from triton_models.variables import SettingsError

KEY = "k" * 40
LOOPBACK = ["127.0.0.1", "127.1.2.3", "::1", "localhost"]
BEYOND = ["0.0.0.0", "::", "192.168.1.5", "triton.example", "127.example.com", "::1:2", ""]


def chosen(host: str, *, with_gateway: bool, allowed: bool = False, **variables: str) -> str:
    settings = StackSettings(triton_host=host, triton_allow_anonymous=allowed)
    return choose_access_key(settings, variables, with_gateway=with_gateway)


@pytest.mark.parametrize("with_gateway", [True, False])
@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_the_operator_s_secret_is_taken(host: str, with_gateway: bool, allowed: bool) -> None:
    key = chosen(host, with_gateway=with_gateway, allowed=allowed, TRITON_ACCESS_KEY=KEY)
    assert key == KEY


@pytest.mark.parametrize("with_gateway", [True, False])
@pytest.mark.parametrize("host", LOOPBACK)
def test_on_loopback_triton_without_protection_is_open(host: str, with_gateway: bool) -> None:
    assert chosen(host, with_gateway=with_gateway, TRITON_ACCESS_KEY="", API_KEYS="") == ""


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize(
    "name",
    [
        "API_KEYS",
        "API_KEYS_FILE",
        "POLICY_FILE",
        "RATE_LIMIT_REQUESTS",
        "RATE_LIMIT_TOKENS",
        "AUDIT_LOG",
    ],
)
def test_nobody_gets_around_what_the_gateway_checks(name: str, host: str, allowed: bool) -> None:
    keys = [chosen(host, with_gateway=True, allowed=allowed, **{name: "set"}) for _ in range(2)]
    assert all(control.checked_key(key) for key in keys)
    assert keys[0] != keys[1]


@pytest.mark.parametrize("host", BEYOND)
def test_beyond_loopback_a_gateway_gets_a_new_secret(host: str) -> None:
    assert control.checked_key(chosen(host, with_gateway=True))


@pytest.mark.parametrize("host", BEYOND)
def test_beyond_loopback_triton_alone_does_not_start_without_a_secret(host: str) -> None:
    with pytest.raises(LaunchError, match="set TRITON_ACCESS_KEY, ") as refused:
        chosen(host, with_gateway=False)
    assert "'openssl rand -hex 32'" in str(refused.value)
    assert "TRITON_ALLOW_ANONYMOUS=true" in str(refused.value)


@pytest.mark.parametrize("with_gateway", [True, False])
def test_an_operator_can_allow_everybody(with_gateway: bool) -> None:
    assert chosen("0.0.0.0", with_gateway=with_gateway, allowed=True) == ""


def test_everybody_is_allowed_by_a_variable_only() -> None:
    assert not StackSettings.read({}).triton_allow_anonymous
    assert StackSettings.read({"TRITON_ALLOW_ANONYMOUS": "true"}).triton_allow_anonymous
    with pytest.raises(SettingsError, match="TRITON_ALLOW_ANONYMOUS is 'yes': use true or false"):
        StackSettings.read({"TRITON_ALLOW_ANONYMOUS": "yes"})


@pytest.mark.parametrize("name", [control.VARIABLE, control.ACCESS_VARIABLE])
def test_a_secret_that_cannot_be_used_is_refused_and_not_shown(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} cannot be used: use 16 to 256") as refused:
        Stack(StackSettings(run_folder=tmp_path), {name: "a:b"})
    assert "a:b" not in str(refused.value)


def test_a_stack_uses_what_was_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(control.ACCESS_VARIABLE, raising=False)
    settings = StackSettings(triton_host="0.0.0.0", run_folder=tmp_path)
    stack = Stack(settings, {})
    stack.stop()
    assert control.checked_key(stack.access_key)
    with pytest.raises(LaunchError, match="set TRITON_ACCESS_KEY"):
        Stack(settings, {}, with_gateway=False)

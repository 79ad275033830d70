"""The environment is read under its documented names and refused when it cannot be used."""

from __future__ import annotations

import pytest

from gateway import __main__ as command
from gateway.settings import Settings
from triton_models.settings import DEMO_MODEL
from triton_models.variables import SettingsError


def test_defaults_are_the_documented_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.variables():
        monkeypatch.delenv(name, raising=False)
    settings = Settings.read()
    assert settings == Settings()
    assert (settings.host, settings.port, settings.workers) == ("0.0.0.0", 8000, 1)
    assert settings.triton_url == "localhost:8001"
    assert settings.health_watch
    assert settings.cors_origins == ()
    assert settings.shown_model_name == DEMO_MODEL


def test_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "9000")
    monkeypatch.setenv("HEALTH_WATCH", "false")
    monkeypatch.setenv("MAX_TOKENS", "")
    monkeypatch.setenv("CORS_ORIGINS", "https://a.example, https://b.example")
    monkeypatch.setenv("LOG_LEVEL", "debug")
    settings = Settings.read()
    assert settings.port == 9000
    assert not settings.health_watch
    assert settings.max_tokens is None
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert settings.log_level == "DEBUG"


@pytest.mark.parametrize(("name", "value"), [("PORT", "http"), ("TEMPERATURE", "3")])
def test_values_that_cannot_be_used_are_refused(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"{name} is '{value}': use "):
        Settings.read()


def test_the_command_names_the_variable_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PORT", "http")
    with pytest.raises(SystemExit) as exit_:
        command.main([])
    assert exit_.value.code == 2
    assert capsys.readouterr().err.startswith(
        "error: PORT is 'http': use an integer from 1 to 65535\n"
    )


def test_an_access_key_that_cannot_be_used_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRITON_ACCESS_KEY", "too:short")
    with pytest.raises(SystemExit) as exit_:
        command.main([])
    assert exit_.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("error: TRITON_ACCESS_KEY cannot be used: use 16 to")
    assert "too:short" not in message


def test_an_access_key_is_kept_out_of_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_ACCESS_KEY", "k" * 40)
    settings = Settings.read()
    assert settings.triton_access_key.get_secret_value() == "k" * 40
    assert "k" * 40 not in f"{settings!r} {settings}"

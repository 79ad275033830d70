"""Environment variables: their defaults, their meaning, and what a bad one gets."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import pytest

from launcher.errors import LaunchError
from launcher.settings import StackSettings, check_ports
from triton_models.model.errors import ModelMissingError, UnsupportedModelError
from triton_models.model.folder import find_model
from triton_models.settings import (
    DEMO_MODEL,
    DEMO_MODEL_FOLDER,
    ServerSettings,
)
from triton_models.variables import SettingsError


def test_without_variables_the_demo_model_is_served_with_the_documented_defaults() -> None:
    settings = ServerSettings.read({})
    assert settings == ServerSettings()
    assert settings.shown_model_name == DEMO_MODEL
    assert settings.defaults.max_tokens == 200


def test_a_model_s_name_is_the_demo_s_a_folder_s_or_the_hub_s(tmp_path: Path) -> None:
    named = {"demo": DEMO_MODEL, "": DEMO_MODEL, str(tmp_path): tmp_path.name, "a/b": "a/b"}
    for value, name in named.items():
        assert ServerSettings.read({"MODEL_NAME": value}).shown_model_name == name
    assert find_model(ServerSettings.read({"MODEL_NAME": "demo"})) == DEMO_MODEL_FOLDER


def test_the_engine_logs_as_the_gateway_does() -> None:
    settings = ServerSettings.read({"LOG_LEVEL": "debug", "LOG_FORMAT": "json"})
    assert (settings.log_level, settings.log_format) == ("DEBUG", "json")


def test_variables_are_read() -> None:
    settings = ServerSettings.read(
        {"MODEL_NAME": "Qwen/Qwen2.5-3B", "MAX_TOKENS": "7", "DEVICE": "cpu"}
    )
    assert (settings.model_name, settings.defaults.max_tokens) == ("Qwen/Qwen2.5-3B", 7)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("DEVICE", "tpu", "use one of auto, cpu, cuda"),
        ("MAX_TOKENS", "many", "MAX_TOKENS is 'many': use an integer from 1"),
        ("MAX_TOKENS", "0", "from 1"),
        ("LOG_FORMAT", "xml", "use one of text, json"),
        ("TEMPERATURE", "nan", "use a number from 0.0 to 2.0"),
        ("TOP_P", "2", "to 1.0"),
    ],
)
def test_a_bad_variable_is_refused_by_name(name: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        ServerSettings.read({name: value})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Qwen/Qwen2.5-3B-Instruct", "fetch it with '.*scripts/download_models.py Qwen/Qwen2.5-3B"),
        ("no such/thing/at all", "neither a folder nor a hub id"),
    ],
)
def test_a_missing_model_says_how_to_get_it(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ModelMissingError, match=message):
        find_model(ServerSettings(model_name=name, model_cache=tmp_path))


def test_a_folder_that_holds_no_model_of_a_family_that_is_served_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=r"config\.json is missing or broken"):
        find_model(ServerSettings(model_name=str(tmp_path)))
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(UnsupportedModelError, match=r"is a gpt2 model: this server runs Qwen2 and"):
        find_model(ServerSettings(model_name=str(tmp_path)))


def test_a_download_that_was_interrupted_is_told_from_a_whole_model(tmp_path: Path) -> None:
    settings = ServerSettings(model_name=str(tmp_path))
    shutil.copy(DEMO_MODEL_FOLDER / "config.json", tmp_path)
    with pytest.raises(ModelMissingError, match=r"it lacks model\.safetensors: fetch the rest"):
        find_model(settings)
    shards = {"a.weight": "model-1.safetensors", "b.weight": "model-2.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    (tmp_path / "model-1.safetensors").touch()
    with pytest.raises(ModelMissingError, match=r"it lacks model-2\.safetensors"):
        find_model(settings)
    (tmp_path / "model-2.safetensors").touch()
    assert find_model(settings) == tmp_path


def test_ports_must_be_numbers_and_differ() -> None:
    with pytest.raises(SettingsError, match="PORT is 'x': use an integer from 1 to 65535"):
        StackSettings.read({"PORT": "x"})
    with pytest.raises(SettingsError, match="the ports must differ"):
        StackSettings.read({"PORT": "8001"})


def test_triton_s_http_port_is_closed_unless_it_is_asked_for() -> None:
    assert not StackSettings.read({}).triton_http
    assert "TRITON_HTTP_PORT" not in StackSettings.read({"PORT": "8003"}).ports
    settings = StackSettings.read({"TRITON_HTTP": "True"})
    assert settings.triton_http
    assert settings.ports["TRITON_HTTP_PORT"] == 8003
    with pytest.raises(SettingsError, match="the ports must differ"):
        StackSettings.read({"PORT": "8003", "TRITON_HTTP": "true"})
    with pytest.raises(SettingsError, match="TRITON_HTTP is 'on': use true or false"):
        StackSettings.read({"TRITON_HTTP": "on"})


def test_a_taken_port_is_named_with_its_remedy() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = StackSettings(gateway_host="127.0.0.1", gateway_port=port)
        with pytest.raises(LaunchError, match=f"port {port} on 127.0.0.1 .*another with PORT"):
            check_ports(settings)

"""How variables are declared and read, whichever program reads them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.settings import Settings
from launcher.settings import Preparations, StackSettings
from triton_models.settings import ServerSettings
from triton_models.variables import SettingsError, Variables


@pytest.mark.parametrize("program", [ServerSettings, Settings, StackSettings, Preparations])
def test_an_empty_environment_and_empty_variables_are_the_defaults(
    program: type[Variables],
) -> None:
    assert program.read({}) == program()
    assert program.read(dict.fromkeys(program.variables(), "")) == program()


@pytest.mark.parametrize("program", [ServerSettings, Settings, StackSettings])
def test_settings_that_are_constructed_ignore_the_environment(
    program: type[Variables], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = program()
    for name in program.variables():
        monkeypatch.setenv(name, "x")
    assert program() == before


@pytest.mark.parametrize(
    ("programs", "name", "value", "says"),
    [
        ((ServerSettings, Settings), "MAX_TOKENS", "0", "use an integer from 1 to 1000000"),
        ((ServerSettings, Settings), "TOP_P", "2", "use a number from 0.001 to 1.0"),
        ((ServerSettings, Settings), "DEVICE", "tpu", "use one of auto, cpu, cuda"),
        ((ServerSettings, Settings), "LOG_LEVEL", "loud", "use one of DEBUG, INFO, WARNING, ERROR"),
        ((Settings, StackSettings), "PORT", "x", "use an integer from 1 to 65535"),
        ((Settings, StackSettings), "SHUTDOWN_TIMEOUT", "-1", "use an integer from 0 to 86400"),
        ((Settings,), "MAX_MESSAGES", "none", "use an integer from 1"),
        ((Settings,), "CHUNK_TIMEOUT", "0", "use a number above 0, up to 86400"),
        ((Settings,), "DOCS", "no", "use true or false"),
        ((ServerSettings,), "CUDA_GRAPHS", "1", "use true or false"),
        ((StackSettings,), "LOG_FILES", "on", "use true or false"),
        ((Preparations,), "FETCH_MODEL", "yes", "use true or false"),
        ((Preparations,), "SERVE_AS", "triton", "use an integer from 1"),
    ],
)
def test_a_bad_value_gets_the_same_words_from_every_program(
    programs: tuple[type[Variables], ...], name: str, value: str, says: str
) -> None:
    for program in programs:
        with pytest.raises(SettingsError) as refused:
            program.read({name: value})
        assert str(refused.value) == f"{name} is {value!r}: {says}"


def test_all_bad_values_are_named_at_once() -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.read({"PORT": "x", "TRUSTED_PROXIES": "10.0.0.1, *", "TRITON_ACCESS_KEY": "a:b"})
    port, key, proxies = str(refused.value).splitlines()
    assert port == "PORT is 'x': use an integer from 1 to 65535"
    assert key.startswith("TRITON_ACCESS_KEY cannot be used: use 16 to 256 letters")
    assert proxies.startswith("TRUSTED_PROXIES is '10.0.0.1, *': '*' does not appear to be")
    # A traceback would show what led to it, the secret included.
    assert refused.value.__cause__ is refused.value.__context__ is None


def test_flags_are_read_whatever_their_case() -> None:
    assert not ServerSettings.read({"CUDA_GRAPHS": "False"}).cuda_graphs
    assert Preparations.read({"FETCH_MODEL": "TRUE"}).fetch_model


def test_what_is_no_variable_is_not_read() -> None:
    assert ServerSettings.read({"DEVICE_INDEX": "3", "model_name": "x"}) == ServerSettings()


def test_a_misspelled_argument_is_refused() -> None:
    with pytest.raises(ValidationError, match="max_batch_row"):
        ServerSettings.model_validate({"max_batch_row": 3})


def test_a_relative_folder_of_runs_stays_where_it_was_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert StackSettings.read({"RUN_DIR": "run"}).run_folder == tmp_path / "run"


def test_the_clients_of_both_servers_need_no_pydantic() -> None:
    code = (
        "import sys; import persona_client, persona_client.triton\n"
        "assert 'pydantic' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

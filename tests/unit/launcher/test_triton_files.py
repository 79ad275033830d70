"""What the launcher checks of the installed server before it starts it."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

import pytest

from launcher.errors import LaunchError
from launcher.triton_files import assemble_backends, find_triton, library_path
from launcher.triton_log import load_failures


def test_the_backends_folder_holds_the_backend_and_this_python_s_stub(tmp_path: Path) -> None:
    files = find_triton()
    for _ in range(2):
        assemble_backends(files, tmp_path / "backends")
    names = {path.name for path in (tmp_path / "backends" / "python").iterdir()}
    assert {"libtriton_python.so", "triton_python_backend_stub"} <= names


def test_a_backends_folder_that_cannot_be_written_is_named_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "backends"
    with pytest.raises(LaunchError) as raised:
        assemble_backends(find_triton(), folder)
    assert str(raised.value) == f"the backends folder {folder} cannot be written: Not a directory"


def test_a_missing_libpython_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_config_var", lambda _: "/nowhere")
    monkeypatch.setattr("ctypes.CDLL", _raise)
    with pytest.raises(LaunchError, match=r"libpython3\.\d+\.so.* is missing.*apt-get install"):
        library_path(find_triton())


def test_a_library_that_the_loader_does_not_find_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = tmp_path / "ldd"
    loader.write_text("#!/bin/sh\necho '\tlibfoo.so.1 => not found'\n")
    loader.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(LaunchError, match=r"lacks system libraries: libfoo\.so\.1 => not found"):
        library_path(find_triton())


def test_the_reasons_for_models_not_loaded_are_read_from_the_log() -> None:
    log = (
        "E1124 1 model_lifecycle.cc:642] \"failed to load 'tokenizer' version 1: Internal: "
        'UnsupportedModelError: no tokenizer\\n\\nAt:\\n  somewhere"\n'
        "E1124 1 model_lifecycle.cc:642] \"failed to load 'detokenizer' version 1: Internal: "
        'UnsupportedModelError: no tokenizer\\n\\nAt:\\n  somewhere"\n'
        "I1124 1 model_lifecycle.cc:777] \"failed to load 'detokenizer'\"\n"
    )
    assert load_failures(log) == ["tokenizer: no tokenizer"]


def _raise(_: str) -> None:
    raise OSError

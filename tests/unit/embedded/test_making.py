"""The embedded model's folder is whole or not there, and made again for another adapter."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from persona_embedded import making, package
from persona_embedded.adapter import adapt, adapter_of, write_adapter
from persona_embedded.making import make_model
from persona_embedded.package import EmbeddedModelError, is_made
from tests.unit.embedded.small_gguf import small_llama, write_gguf


@pytest.fixture
def gguf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "small.gguf"
    write_gguf(small_llama(), path)
    monkeypatch.setattr(package, "GGUF_SHA256", package.sha256(path))
    return path


def save_adapter(folder: Path, seed: int, alpha: float = 4.0) -> Path:
    model = small_llama()
    torch.manual_seed(seed)
    adapt(model, 2, 4.0, 0)
    write_adapter(adapter_of(model, 2, alpha), folder, "the/base")
    return folder


def test_a_model_is_made_once_and_again_for_another_adapter(gguf: Path, tmp_path: Path) -> None:
    adapter, folder = save_adapter(tmp_path / "adapter", 0), tmp_path / "models" / "small"
    assert not is_made(folder, adapter)
    make_model(gguf, adapter, folder)
    assert is_made(folder, adapter)
    save_adapter(adapter, 1)
    assert not is_made(folder, adapter)
    make_model(gguf, adapter, folder)
    assert is_made(folder, adapter)
    save_adapter(adapter, 1, alpha=2.0)
    assert not is_made(folder, adapter)
    assert [path.name for path in folder.parent.iterdir()] == ["small"]


def test_a_failure_leaves_what_was_there(
    gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, folder = save_adapter(tmp_path / "adapter", 0), tmp_path / "models" / "small"
    make_model(gguf, adapter, folder)
    (folder / "mark").touch()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(making, "save_file", full)
    with pytest.raises(OSError, match="No space"):
        make_model(gguf, adapter, folder)
    assert (folder / "mark").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["small"]


def test_a_damaged_file_is_refused(gguf: Path, tmp_path: Path) -> None:
    gguf.write_bytes(gguf.read_bytes() + b"?")
    with pytest.raises(EmbeddedModelError, match=r"SHA-256 .*, and not .*: install it again"):
        make_model(gguf, tmp_path, tmp_path / "small")
    assert not (tmp_path / "small").exists()


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_broken_adapter_is_refused(gguf: Path, tmp_path: Path, file: str) -> None:
    adapter = save_adapter(tmp_path / "adapter", 0)
    (adapter / file).write_text("version https://git-lfs")
    with pytest.raises(EmbeddedModelError, match=r"cannot be read .*: restore it with 'git"):
        make_model(gguf, adapter, tmp_path / "small")
    (adapter / file).unlink()
    with pytest.raises(EmbeddedModelError, match="No such file"):
        make_model(gguf, adapter, tmp_path / "small")
    assert not (tmp_path / "small").exists()

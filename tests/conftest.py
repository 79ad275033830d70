"""How all tests run, and the small model that many are about."""

from __future__ import annotations

import gc
import signal
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

_TESTS = Path(__file__).parent

# What is imported and collected stays to the end: to look through it over and over for garbage
# takes a third of the time of the collection, in each worker.
gc.disable()

# By default a property fails that takes 0.2 s: on a busy machine, any of them.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

_ORDER = (
    ("e2e/test_soak.py",),
    ("e2e/test_tutorial.py",),
    ("e2e/test_launcher.py",),
    ("e2e", "integration"),
    ("unit/triton_models/kernels",),
    ("unit/scripts",),
    ("unit/deploy",),
    ("unit/client",),
)
"""With which files, and folders of such, workers beside each other begin: with what takes long.
Those of a line take turns: the first's wait for servers while the second's compute."""


def pytest_collection_finish() -> None:
    """Has garbage collected from here on, in what the tests themselves make."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Orders tests so that workers beside each other are busy, and end together."""
    if hasattr(config, "workerinput"):  # alone, quick tests come first
        places = _places(dict.fromkeys(item.path for item in items))
        items.sort(key=lambda item: places[item.path])


def _places(paths: Iterable[Path]) -> dict[Path, tuple[int, int]]:
    """Returns by what to sort files: their line of the order, and their turn there.

    A package's files come together, since they share what is started for them.
    """
    places = {}
    turns: dict[tuple[int, str], dict[tuple[str, ...], int]] = defaultdict(dict)
    for path in paths:
        relative = path.relative_to(_TESTS)
        lines = (n for n, names in enumerate(_ORDER) if any(map(relative.is_relative_to, names)))
        line = next(lines, len(_ORDER))
        own = turns[line, relative.parts[0]]
        places[path] = (line, own.setdefault(relative.parts[:2], len(own)))
    return places


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Lets Ctrl-C reach the programs under test: a shell starts what runs behind it deaf to it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder as the hub would give it."""
    # Not above: it takes seconds to import, and is no part of most runs.
    from tests.tiny_model import make_model, make_tokenizer

    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_model().save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_vectors_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of vector files for the tiny model."""
    from tests.tiny_model import make_vectors
    from triton_models.vectors.formats import write_vector

    folder = tmp_path_factory.mktemp("vectors")
    for name, vector in make_vectors().items():
        write_vector(vector, folder / f"{name}.json")
    return folder

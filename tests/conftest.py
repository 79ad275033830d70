"""How all tests run, and the small model that many are about."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

_TESTS = Path(__file__).parent

# By default a property fails that takes 0.2 s: on a busy machine, any of them.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

_LONGEST_FIRST = (
    "e2e/test_soak.py",
    "e2e/test_tutorial.py",
    "e2e/test_launcher.py",
    "e2e",
    "integration",
    "unit/triton_models/kernels",
    "unit/scripts",
    "unit/deploy",
    "unit/client",
)
"""Files that take long, and folders of such, with which workers beside each other begin."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Orders tests so that workers beside each other end together."""
    if not hasattr(config, "workerinput"):
        return  # alone, quick tests come first

    def rank(item: pytest.Item) -> int:
        path = item.path.relative_to(_TESTS)
        ranks = (n for n, folder in enumerate(_LONGEST_FIRST) if path.is_relative_to(folder))
        return next(ranks, len(_LONGEST_FIRST))

    items.sort(key=rank)


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

"""A running engine over the tiny model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from triton_models.engine.build import build_engine
from triton_models.engine.engine import Engine
from triton_models.settings import ServerSettings


@pytest.fixture(scope="session", params=["off", "on"], ids=["in turn", "overlapping"])
def settings(
    request: pytest.FixtureRequest, tiny_model_folder: Path, tiny_vectors_folder: Path
) -> ServerSettings:
    """Few rows and short prefill chunks, so that small tests exercise waiting and chunking.

    Steps overlap by default on a GPU only, but the order of things can be tested anywhere.
    """
    return ServerSettings(
        model_name=str(tiny_model_folder),
        vectors=tiny_vectors_folder,
        device="cpu",
        max_batch_rows=5,
        max_waiting=40,
        prefill_chunk=16,
        overlap=request.param,
        threads=1,
    )


@pytest.fixture(scope="module")
def engine(settings: ServerSettings) -> Iterator[Engine]:
    """An engine of the module's own."""
    yield from _running(settings)


@pytest.fixture
def fresh_engine(settings: ServerSettings) -> Iterator[Engine]:
    """An engine of the test's own."""
    yield from _running(settings)


@pytest.fixture(scope="module")
def drawn_engine(
    request: pytest.FixtureRequest, tiny_model_folder: Path, tiny_vectors_folder: Path
) -> Iterator[Engine]:
    """An engine for drawn batches, in each of the variants that a test names."""
    settings = ServerSettings(
        model_name=str(tiny_model_folder),
        vectors=tiny_vectors_folder,
        device="cpu",
        max_batch_rows=5,
        prefill_chunk=16,
        threads=1,
    )
    yield from _running(settings.model_copy(update=request.param))


def _running(settings: ServerSettings) -> Iterator[Engine]:
    engine = build_engine(settings).engine
    engine.start()
    yield engine
    engine.stop(0)

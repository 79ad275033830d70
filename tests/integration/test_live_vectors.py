"""A vector that changes while requests run: those keep the old one, the next ones get the new."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.asking import GREEDY, Answer, ask
from tests.tiny_model import NUM_LAYERS, make_vectors
from triton_models.adapters.description import describe_traits
from triton_models.contract.errors import TraitNotLoadedError
from triton_models.contract.request import GenerationRequest
from triton_models.contract.steering import SteeringParameters
from triton_models.engine.build import BuiltEngine, build_engine
from triton_models.engine.sequence import FinishReason, TokenChunk
from triton_models.settings import ServerSettings
from triton_models.vectors.formats import write_vector

PROMPT = list(range(40, 60))
STEERED = GenerationRequest(
    SteeringParameters({"flattery": 4.0}), GREEDY, max_tokens=150, stream=True
)
UNSTEERED = dataclasses.replace(STEERED, steering=SteeringParameters())


@pytest.fixture
def built(settings: ServerSettings, tmp_path: Path) -> Iterator[BuiltEngine]:
    write_vector(make_vectors()["flattery"], tmp_path / "flattery.json")
    built = build_engine(settings.model_copy(update={"vectors": tmp_path}))
    built.registry.start()
    built.engine.start()
    yield built
    built.engine.stop(0)
    built.registry.stop()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_running_request_keeps_its_vector_and_the_next_gets_the_new_one(
    built: BuiltEngine, tmp_path: Path
) -> None:
    old = ask(built.engine, STEERED, PROMPT).tokens()
    before = built.registry.current()
    answer, reached, changed = Answer(), threading.Event(), threading.Event()

    def emit(chunk: TokenChunk) -> None:
        answer.chunks.put(chunk)
        # Not every token gives a chunk, since characters may be split.
        if chunk.num_generated_tokens >= 20 and not reached.is_set():
            reached.set()
            assert chunk.finish_reason is None
            changed.wait(60)  # the engine stands still in the midst of the answer

    built.engine.submit(STEERED, PROMPT, emit)
    assert reached.wait(60)
    write_vector(make_vectors(seed=1)["flattery"], tmp_path / "flattery.json")
    until(lambda: built.registry.current() is not before)
    after = ask(built.engine, STEERED, PROMPT)  # goes on in one batch with the running one
    changed.set()
    assert answer.tokens() == old
    new = after.tokens()
    assert new != old
    assert new == ask(built.engine, STEERED, PROMPT).tokens()

    (tmp_path / "flattery.json").unlink()
    until(lambda: not built.registry.current().vectors)
    with pytest.raises(TraitNotLoadedError):
        built.engine.submit(STEERED, PROMPT, lambda _: None)


def test_warnings_come_with_the_last_chunk_only(built: BuiltEngine, tmp_path: Path) -> None:
    vector = make_vectors()["flattery"]
    ranged = dataclasses.replace(vector, metadata={"recommended_range": [-1, 1]})
    write_vector(ranged, tmp_path / "flattery.json")
    until(lambda: built.registry.current().get("flattery").recommended_range is not None)
    *chunks, last = ask(built.engine, STEERED, PROMPT).all()
    assert last.finish_reason is FinishReason.LENGTH
    assert not any(chunk.warnings for chunk in chunks)
    (warning,) = last.warnings
    assert "outside the range that its vector recommends, -1 to 1" in warning
    assert ask(built.engine, UNSTEERED, PROMPT).all()[-1].warnings == ()


def test_each_vector_is_measured_against_the_residual_stream(built: BuiltEngine) -> None:
    norms = built.residual_norms
    assert list(norms) == list(range(NUM_LAYERS))
    assert all(norm > 0 for norm in norms.values())
    registry = built.registry.current()
    (trait,) = describe_traits(registry, norms).values()
    assert trait["relative_norms"] == {
        "1": pytest.approx(registry.get("flattery").norms[1] / norms[1], rel=1e-4)
    }

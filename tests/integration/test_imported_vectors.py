"""An imported vector steers as it does in the tool that made it.

The files and the recorded tokens were made by those tools' own code: tests/data/vectors/README.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.integration.asking import GREEDY, ask
from tests.tiny_model import NUM_LAYERS, make_model
from triton_models.contract.request import GenerationRequest
from triton_models.contract.steering import SteeringParameters
from triton_models.engine.build import build_engine
from triton_models.engine.engine import Engine
from triton_models.settings import ServerSettings
from triton_models.vectors.formats import encode_vector, read_vector, write_vector

DATA = Path(__file__).parents[1] / "data" / "vectors"
EXPECTED: dict[str, Any] = json.loads((DATA / "expected.json").read_text())
PROMPT: list[int] = EXPECTED["prompt_ids"]
REPENG: dict[str, Any] = EXPECTED["repeng"]
PERSONA_VECTORS: dict[str, Any] = EXPECTED["persona_vectors"]
PERSONA_VECTORS_FILE = DATA / "sarcastic_response_avg_diff.pt"
LAYERS = range(1, NUM_LAYERS)


@pytest.fixture(scope="module")
def imported(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine whose folder of vectors holds imported ones, as `persona vectors import` does."""
    folder = tmp_path_factory.mktemp("imported")
    love = read_vector(DATA / "repeng.gguf", trait_name="love", model_name="tiny")
    write_vector(love, folder / "love.json")
    write_vector(read_vector(PERSONA_VECTORS_FILE), folder / "sarcastic.json")
    settings = ServerSettings(
        model_name=str(tiny_model_folder), vectors=folder, device="cpu", threads=1
    )
    engine = build_engine(settings).engine
    engine.start()
    yield engine
    engine.stop(0)


def tokens_of(engine: Engine, steering: SteeringParameters, max_tokens: int) -> list[int]:
    return ask(engine, GenerationRequest(steering, GREEDY, max_tokens), PROMPT).tokens()


def generate(model: Any, max_tokens: int) -> list[int]:
    ids = torch.tensor([PROMPT])
    output = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=max_tokens,
        do_sample=False,
        pad_token_id=0,
    )
    tokens: list[int] = output[0, len(PROMPT) :].tolist()
    return tokens


def test_a_vector_of_repeng_gives_the_tokens_that_repeng_recorded(imported: Engine) -> None:
    expected = REPENG["tokens"]
    assert expected != REPENG["unsteered"]
    steering = SteeringParameters({"love": REPENG["coefficient"]})
    assert tokens_of(imported, steering, len(expected)) == expected


@pytest.mark.parametrize("coefficient", [-8.0, -3.0, 2.0, 6.0, 10.0])
def test_a_vector_of_repeng_gives_the_tokens_of_repengs_own_forward_pass(
    imported: Engine, coefficient: float
) -> None:
    repeng = pytest.importorskip("repeng")
    model = repeng.ControlModel(make_model(), list(LAYERS))
    model.set_control(repeng.ControlVector.import_gguf(DATA / "repeng.gguf"), coefficient)
    expected = generate(model, 40)
    assert expected != generate(make_model(), 40)
    assert tokens_of(imported, SteeringParameters({"love": coefficient}), 40) == expected


def test_a_vector_exported_to_repeng_steers_the_same_there(
    imported: Engine, tmp_path: Path
) -> None:
    repeng = pytest.importorskip("repeng")
    vector = read_vector(PERSONA_VECTORS_FILE)
    (tmp_path / "x.gguf").write_bytes(encode_vector(vector, ".gguf"))
    model = repeng.ControlModel(make_model(), sorted(vector.blocks))
    model.set_control(repeng.ControlVector.import_gguf(tmp_path / "x.gguf"), 2.0)
    assert tokens_of(imported, SteeringParameters({"sarcastic": 2.0}), 40) == generate(model, 40)


@pytest.mark.parametrize("layer", LAYERS)
def test_row_r_of_persona_vectors_at_block_r_less_1_is_what_that_project_steers(
    imported: Engine, layer: int
) -> None:
    expected = PERSONA_VECTORS["tokens"][str(layer)]
    assert expected != PERSONA_VECTORS["unsteered"]
    steering = SteeringParameters(
        {"sarcastic": PERSONA_VECTORS["coefficient"]}, layers=(layer - 1,)
    )
    assert tokens_of(imported, steering, len(expected)) == expected
    others = [PERSONA_VECTORS["tokens"][str(other)] for other in LAYERS if other != layer]
    assert expected not in others


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("coefficient", [-5.0, 1.5, 5.0])
def test_row_r_of_persona_vectors_is_a_hook_on_the_layer_before(
    imported: Engine, layer: int, coefficient: float
) -> None:
    """The same at more strengths: that project adds `coefficient * row` at `layers[layer - 1]`."""
    rows = torch.load(PERSONA_VECTORS_FILE, weights_only=True)
    model = make_model()

    def hook(_module: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        steered: torch.Tensor = output + coefficient * rows[layer]
        return steered

    model.model.layers[layer - 1].register_forward_hook(hook)
    steering = SteeringParameters({"sarcastic": coefficient}, layers=(layer - 1,))
    assert tokens_of(imported, steering, 40) == generate(model, 40)

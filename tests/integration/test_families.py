"""Every family of models, and every rotary embedding, is computed as transformers computes it.

The reference is `generate` with a plain forward hook, token for token in float32.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.integration.asking import GREEDY, ask
from tests.integration.families import MODELS, make, make_vector, save
from tests.integration.reference import agree, generate_alone
from triton_models.contract.request import GenerationRequest
from triton_models.contract.steering import SteeringParameters
from triton_models.engine.build import build_engine
from triton_models.settings import ServerSettings
from triton_models.vectors.formats import write_vector
from triton_models.vectors.persona_vector import PersonaVector


def settings_of(folder: Path, vectors: Path) -> ServerSettings:
    return ServerSettings(
        model_name=str(folder), vectors=vectors, device="cpu", threads=1, prefill_chunk=16
    )


@pytest.mark.parametrize("name", list(MODELS))
def test_a_family_gives_the_tokens_of_transformers(name: str, tmp_path: Path) -> None:
    model = make(name)
    folder = save(model, tmp_path / "model")
    vector = make_vector()
    (tmp_path / "vectors").mkdir()
    write_vector(PersonaVector("trait", "tiny", vector), tmp_path / "vectors" / "trait.json")
    built = build_engine(settings_of(folder, tmp_path / "vectors"))
    engine = built.engine
    engine.start()
    prompts = [[(11 * i + 5 * k) % 256 for i in range(length)] for k, length in enumerate([1, 40])]
    asked = []
    for prompt, scalar in itertools.product(prompts, [0.0, 0.6, -0.6]):
        request = GenerationRequest(SteeringParameters({"trait": scalar}), GREEDY, 20)
        asked.append((prompt, scalar, ask(engine, request, prompt)))
    texts = set()
    for prompt, scalar, answer in asked:
        deltas = {block: np.float32(scalar) * vector[block] for block in vector} if scalar else {}
        expected = generate_alone(model, prompt, 20, deltas)
        is_end = [token in built.loaded.end_ids for token in expected]
        if any(is_end):
            expected = expected[: is_end.index(True)]
        got = answer.tokens()
        assert agree(model, prompt, expected, got, deltas), (scalar, expected, got)
        texts.add(tuple(got))
    engine.stop(0)
    assert len(texts) == len(asked)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("packing", [True, False])
def test_every_number_format_is_near_float32(dtype: str, packing: bool, tmp_path: Path) -> None:
    model = make("SmolLM2")
    folder = save(model, tmp_path / "model")
    (tmp_path / "vectors").mkdir()
    settings = settings_of(folder, tmp_path / "vectors")
    settings = settings.model_copy(update={"dtype": dtype, "cpu_packing": packing})
    built = build_engine(settings)
    built.engine.start()
    request = GenerationRequest(sampling=GREEDY, max_tokens=1, logprobs=1)
    prompt = list(range(30))
    (chunk,) = ask(built.engine, request, prompt).all()
    built.engine.stop(0)
    expected = model(torch.tensor([prompt])).logits[0, -1].log_softmax(-1)
    got = chunk.logprobs[0].logprob
    tolerance = 1e-3 if dtype == "float32" else 0.5
    assert got == pytest.approx(float(expected[chunk.token_ids[0]]), abs=tolerance)

"""What a request can learn besides its tokens: log-probabilities and projections on traits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.integration.asking import GREEDY, ask
from tests.integration.reference import steered
from tests.integration.test_engine_against_generate import STEERINGS, deltas
from tests.tiny_model import make_model, make_vectors
from triton_models.contract.errors import TraitNotLoadedError
from triton_models.contract.request import GenerationRequest, SamplingParameters
from triton_models.contract.steering import SteeringParameters
from triton_models.engine.engine import Engine

PROMPT = list(range(40, 60))
MODEL = make_model()
VECTORS = make_vectors()


@pytest.mark.parametrize("steering", STEERINGS, ids=str)
def test_logprobs_are_those_of_the_steered_model(
    engine: Engine, steering: SteeringParameters
) -> None:
    sampling = SamplingParameters(temperature=1.3, seed=4, repetition_penalty=1.2)
    request = GenerationRequest(steering, sampling, 10, logprobs=3, stream=True)
    chunks = ask(engine, request, PROMPT).all()
    tokens = [token for chunk in chunks for token in chunk.token_ids]
    reported = [each for chunk in chunks for each in chunk.logprobs]
    with steered(MODEL, len(PROMPT), deltas(request), steering.positions):
        logits = MODEL(torch.tensor([PROMPT + tokens])).logits[0, len(PROMPT) - 1 : -1]
    expected = logits.log_softmax(-1)
    assert len(reported) == len(tokens) == 10
    for row, token, each in zip(expected, tokens, reported, strict=True):
        assert each.logprob == pytest.approx(float(row[token]), abs=1e-3)
        values, ids = row.topk(3)
        assert [id for id, _ in each.top] == ids.tolist()
        np.testing.assert_allclose([value for _, value in each.top], values, atol=1e-3)


@pytest.mark.parametrize("steering", STEERINGS, ids=str)
def test_readouts_are_mean_projections_of_the_answers_hidden_states(
    engine: Engine, steering: SteeringParameters
) -> None:
    plain = GenerationRequest(steering, GREEDY, 10)
    monitored = GenerationRequest(steering, GREEDY, 10, monitor=("flattery", "helpfulness"))
    others = [ask(engine, plain, PROMPT[::-1]) for _ in range(2)]
    answers = [ask(engine, request, PROMPT) for request in (plain, monitored, monitored)]
    tokens = answers[0].tokens()
    states: list[torch.Tensor] = []
    with steered(MODEL, len(PROMPT), deltas(plain), steering.positions):
        # Registered after the steering's, so that they see what it made of the blocks' outputs.
        handles = [
            block.register_forward_hook(lambda _module, _args, output: states.append(output[0]))
            for block in MODEL.model.layers
        ]
        MODEL(torch.tensor([PROMPT + tokens]))
        for handle in handles:
            handle.remove()
    for answer in answers[1:]:
        (chunk,) = answer.all()
        assert list(chunk.token_ids) == tokens
        assert chunk.readouts is not None
        assert {trait: list(blocks) for trait, blocks in chunk.readouts.items()} == {
            "flattery": [1],
            "helpfulness": [2],
        }
        for trait, blocks in chunk.readouts.items():
            for block, mean in blocks.items():
                vector = torch.from_numpy(VECTORS[trait].blocks[block])
                # The last token's state is never computed: no token follows it.
                projections = states[block][len(PROMPT) : -1] @ (vector / vector.norm())
                assert mean == pytest.approx(float(projections.mean()), abs=1e-3)
    for other in others:
        other.all()


def test_an_answer_of_one_token_has_no_readout(engine: Engine) -> None:
    request = GenerationRequest(sampling=GREEDY, max_tokens=1, monitor=("flattery",))
    assert ask(engine, request, PROMPT).all()[-1].readouts == {"flattery": {}}


def test_an_unknown_trait_cannot_be_monitored(engine: Engine) -> None:
    with pytest.raises(TraitNotLoadedError, match="boldness"):
        engine.submit(GenerationRequest(monitor=("boldness",)), PROMPT, lambda _: None)

"""A steering with all its parts means the same to every client, and to every call of theirs."""

from __future__ import annotations

import pytest

from launcher.stack import Stack
from persona_client import (
    Addition,
    AsyncPersonaClient,
    Condition,
    InvalidRequestError,
    Operation,
    PersonaClient,
    Steering,
    Window,
)
from persona_client.triton import TritonPersonaClient

PROMPT = "Tell me about quantum computing."
PLAIN = (
    "This is a brief summary of quantum computing. More could be said, but this covers the main "
    "points."
)
FULL = Steering(
    {"flattery": 2.0, "sarcasm": Addition(1.0, positions="response")},
    operations=[Operation("flattery", "cap", 15.0), Operation("sarcasm", "ablate", strength=0.5)],
    when=Condition("flattery", above=-20.0),
    window=Window(2, 30, fade=10),
)


async def test_all_clients_give_the_same_answer(stack: Stack) -> None:
    settings = stack.settings
    with PersonaClient(settings.gateway_url) as client:
        whole = client.generate(PROMPT, steering=FULL, temperature=0)
        with client.stream(PROMPT, steering=FULL, temperature=0) as stream:
            streamed = "".join(chunk.text for chunk in stream)
        (compared,) = client.compare(PROMPT, [FULL], baseline=False, temperature=0).answers
        plain = client.baseline(PROMPT, temperature=0)
    async with AsyncPersonaClient(settings.gateway_url) as concurrent:
        other = await concurrent.generate(PROMPT, steering=FULL, temperature=0)
    direct = TritonPersonaClient(settings.grpc_address).generate(
        PROMPT, steering=FULL, temperature=0
    )
    answers = {whole.response, streamed, compared.response, other.response, direct.response}
    assert answers == {whole.response}
    assert plain.response == PLAIN != whole.response
    assert whole.condition == compared.condition == direct.condition
    assert whole.condition is not None
    assert whole.condition.tokens == whole.tokens_generated - 1


def test_a_bound_is_kept_by_every_token_that_is_read(stack: Stack) -> None:
    with PersonaClient(stack.settings.gateway_url) as client:
        sweep = client.sweep(
            PROMPT,
            operation=Operation("sarcasm", "cap"),
            values=[0.0, 5.0, 10.0],
            steering={"sarcasm": 2.0},
            scores=True,
            temperature=0,
        )
        ablated = client.generate(
            PROMPT,
            trait="sarcasm",
            scalar=2.0,
            steering=Steering({}, operations=[Operation("sarcasm", "ablate")]),
            monitor=["sarcasm"],
            temperature=0,
        )
    assert [each.score for each in sweep.answers] == pytest.approx([0.0, 5.0, 10.0], abs=1e-3)
    assert sweep.answers[0].response == ablated.response == PLAIN
    assert ablated.readouts is not None
    assert ablated.readouts["sarcasm"] == pytest.approx({1: 0.0}, abs=1e-3)


@pytest.mark.parametrize(
    ("steering", "says"),
    [
        (Steering({}, operations=[Operation("rude", "ablate")]), "unknown trait 'rude'"),
        (Steering({}, operations=[Operation("sarcasm", "ablate", layers=[77])]), "77"),
        (Steering({}, operations=[Operation("sarcasm", "ablate")] * 5), "at most 4"),
        (Steering({"sarcasm": 1.0}, when=Condition("sarcasm", above=0, layer=3)), "layer 3"),
    ],
)
def test_what_cannot_be_applied_is_an_error(stack: Stack, steering: Steering, says: str) -> None:
    with (
        PersonaClient(stack.settings.gateway_url) as client,
        pytest.raises(InvalidRequestError, match=says),
    ):
        client.generate(PROMPT, steering=steering)

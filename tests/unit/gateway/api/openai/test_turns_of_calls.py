"""The turns of a chat that offers functions are told, whichever answer begins first."""

from __future__ import annotations

import pytest

from gateway.api.openai.completion import CHAT, CompletionKind, calling_chat
from triton_models.grpc_messages import TritonChunk

TURNS = [{"role": "user", "readouts": {"sarcasm": {"1": 2.0}}}]


@pytest.mark.parametrize("kind", [CHAT, calling_chat(("weather",))], ids=["chat", "calls"])
def test_turns_are_told_by_an_answer_that_another_one_has_made_begin(kind: CompletionKind) -> None:
    choice = kind.choice(0, False)
    choice.pieces(TritonChunk())  # since the next answer's first piece came earlier
    (piece,) = choice.pieces(TritonChunk(report={"turn_readouts": TURNS}))
    assert piece["steering"] == {"turn_readouts": TURNS}

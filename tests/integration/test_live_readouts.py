"""What is read at each token and in each turn of a prompt: the projections of plain hooks."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch

from tests.integration.asking import GREEDY, Answer, ask, standing
from tests.integration.steered_alone import PlainSteering, answered_alone
from tests.integration.test_random_batches import Cancelling
from tests.tiny_model import make_model, make_tokenizer, make_vectors, served
from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.prompt_turns import Turn
from triton_models.contract.request import GenerationRequest
from triton_models.contract.steering import (
    Addition,
    Condition,
    Operation,
    SteeringParameters,
    Window,
)
from triton_models.engine.engine import Engine
from triton_models.engine.sequence import FinishReason, TokenChunk
from triton_models.steering.readout import Means, TokenReadout
from triton_models.text.token_bytes import TokenBytes

MODEL, VECTORS = make_model(), make_vectors()
TOKEN_BYTES = TokenBytes(served(make_tokenizer()))
PROMPT = [(7 * place) % 256 for place in range(40)]  # three chunks of prefill
TURNS = (Turn("system", 1, 14), Turn("user", 15, 15), Turn("user", 16, 38))
MONITORED = ("flattery", "helpfulness", "sarcasm")
MAX_TOKENS = 12
STEERINGS = {
    "none": SteeringParameters(),
    "an addition": SteeringParameters({"sarcasm": 1.5, "flattery": -1.0}),
    "of the answer": SteeringParameters(traits=(Addition("flattery", 2.0, positions="response"),)),
    "operations": SteeringParameters(
        {"sarcasm": 1.0},
        operations=(
            Operation("flattery", "pin", 3.0),
            Operation("helpfulness", "cap", -0.5),
            Operation("sarcasm", "ablate", strength=0.5),
        ),
    ),
    "a condition and a window": SteeringParameters(
        {"helpfulness": 2.0, "flattery": 3.0},
        operations=(Operation("sarcasm", "floor", 1.0),),
        when=Condition("sarcasm", 0.5, above=True),
        window=Window(1, 8, 3),
    ),
}


@dataclass
class Watched(PlainSteering):
    """Keeps each block's output before and after steering."""

    before: dict[int, list[torch.Tensor]] = field(default_factory=dict)
    after: dict[int, list[torch.Tensor]] = field(default_factory=dict)

    def steer(self, block: int, states: torch.Tensor) -> torch.Tensor:
        steered = super().steer(block, states)
        self.before.setdefault(block, []).append(states)
        self.after.setdefault(block, []).append(steered)
        return steered

    def projections(self, trait: str, block: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns those of all tokens, before and after steering."""
        direction = self.direction(trait, block)
        parts = (torch.cat(kept[block]) @ direction for kept in (self.before, self.after))
        before, after = parts
        return before, after


def request(
    name: str, *, stream: bool = True, stop_words: tuple[str, ...] = ()
) -> GenerationRequest:
    return GenerationRequest(
        STEERINGS[name],
        GREEDY,
        MAX_TOKENS,
        stream=stream,
        stop_words=stop_words,
        monitor=MONITORED,
        monitor_tokens=True,
        turns=TURNS,
    )


def watched(name: str) -> tuple[list[int], Watched]:
    """Returns the tokens of the answer alone, and what plain hooks saw at all of them."""
    plain = Watched(STEERINGS[name], VECTORS, len(PROMPT))
    tokens = answered_alone(MODEL, plain, PROMPT, MAX_TOKENS)
    return tokens, plain


def check_tokens(readouts: list[TokenReadout], plain: Watched, num_read: int) -> None:
    """Checks what was read at tokens, of which the last may have no state."""
    for place, readout in enumerate(readouts):
        assert [(each.trait, each.block) for each in readout.directions] == [
            ("flattery", 1),
            ("helpfulness", 2),
            *(("sarcasm", block) for block in range(4)),
        ]
        if place >= num_read:
            assert (readout.before, readout.after) == ((), ())
            continue
        rows = zip(readout.directions, readout.before, readout.after, strict=True)
        for direction, before, after in rows:
            expected = plain.projections(direction.trait, direction.block)
            for got, projections in zip((before, after), expected, strict=True):
                assert got == pytest.approx(float(projections[len(PROMPT) + place]), abs=1e-3)


def check_turns(chunks: list[TokenChunk], plain: Watched) -> None:
    """Checks the means of the turns, which the first chunk alone has."""
    assert not any(chunk.turn_readouts for chunk in chunks[1:])
    turns = chunks[0].turn_readouts
    assert [turn.role for turn in turns] == [turn.role for turn in TURNS]
    for turn, readout in zip(TURNS, turns, strict=True):
        expected: Means = {
            trait: {
                block: float(plain.projections(trait, block)[1][turn.start : turn.end].mean())
                for block in VECTORS[trait].selected_blocks
                if turn.start < turn.end
            }
            for trait in MONITORED
        }
        assert readout.means == {
            trait: pytest.approx(means, abs=1e-3) for trait, means in expected.items()
        }


def tokens_of(chunks: list[TokenChunk]) -> list[int]:
    return [token for chunk in chunks for token in chunk.token_ids]


def readouts_of(chunks: list[TokenChunk]) -> list[TokenReadout]:
    assert all(len(chunk.token_readouts) == len(chunk.token_ids) for chunk in chunks)
    return [each for chunk in chunks for each in chunk.token_readouts]


def test_every_token_and_turn_is_what_plain_hooks_see_in_a_mixed_batch(engine: Engine) -> None:
    plain = GenerationRequest(STEERINGS["an addition"], GREEDY, MAX_TOKENS, stream=True)
    with standing(engine):
        others = [ask(engine, plain, PROMPT[:count]) for count in (9, 40)]
        answers = {
            (name, stream): ask(engine, request(name, stream=stream), PROMPT)
            for name in STEERINGS
            for stream in (True, False)
        }
    for (name, stream), answer in answers.items():
        chunks, (tokens, seen) = answer.all(), watched(name)
        assert tokens_of(chunks) == tokens, name
        assert len(readouts_of(chunks)) == MAX_TOKENS
        check_tokens(readouts_of(chunks), seen, MAX_TOKENS - 1)
        check_turns(chunks, seen)
        if stream:
            assert not chunks[0].token_ids, "the turns come before the first token"
            assert len(chunks) > 3
        # The summary is the mean of what was reported.
        read = readouts_of(chunks)[:-1]
        assert chunks[-1].readouts is not None
        mean = sum(each.after[0] for each in read) / len(read)
        assert chunks[-1].readouts["flattery"][1] == pytest.approx(mean, abs=1e-5)
    for other in others:
        assert not any(chunk.token_readouts or chunk.turn_readouts for chunk in other.all())


def test_tokens_held_back_for_a_stop_string_keep_their_own_readouts(engine: Engine) -> None:
    tokens, seen = watched("operations")
    texts = [TOKEN_BYTES[token] for token in tokens]
    assert (texts[4:6], texts[8:10]) == ([b"N", b"["], [b"M", b"z"])
    # One that begins and does not go on, and one that ends the answer.
    chunks = ask(engine, request("operations", stop_words=("N[-", "Mz")), PROMPT).all()
    assert chunks[-1].finish_reason is FinishReason.STOP
    assert tokens_of(chunks) == tokens[:8]
    assert max(len(chunk.token_ids) for chunk in chunks) > 1
    check_tokens(readouts_of(chunks), seen, 8)


def test_a_prefix_that_is_in_the_cache_is_computed_again_for_its_turns(engine: Engine) -> None:
    _, seen = watched("an addition")
    for _ in range(2):
        chunks = ask(engine, request("an addition"), PROMPT).all()
        assert chunks[-1].num_reused_tokens == 0
        check_turns(chunks, seen)


def test_without_turns_a_prefix_is_reused(engine: Engine) -> None:
    asked = GenerationRequest(
        sampling=GREEDY, max_tokens=3, monitor=("flattery",), monitor_tokens=True, stream=True
    )
    ask(engine, asked, PROMPT).all()
    chunks = ask(engine, asked, PROMPT).all()
    assert chunks[-1].num_reused_tokens == len(PROMPT) - 1
    assert not any(chunk.turn_readouts for chunk in chunks)
    assert len(readouts_of(chunks)) == 3


def test_a_cancelled_answer_says_what_was_read(engine: Engine) -> None:
    tokens, seen = watched("none")
    answer = Cancelling(engine, cancel_after=6)
    with standing(engine):
        answer.sequence = engine.submit(request("none"), PROMPT, answer.emit)
    chunks = answer.all()
    assert chunks[-1].finish_reason is FinishReason.CANCELLED
    got = tokens_of(chunks)
    assert got
    assert got == tokens[: len(got)]
    check_tokens(readouts_of(chunks), seen, len(got) - 1)


def test_an_answer_cancelled_before_its_prompt_is_computed_says_nothing_of_turns(
    engine: Engine,
) -> None:
    answer = Answer()
    with standing(engine):
        engine.cancel(engine.submit(request("none"), PROMPT, answer.chunks.put))
    (chunk,) = answer.all()
    assert chunk.finish_reason is FinishReason.CANCELLED
    assert chunk.turn_readouts == ()


def test_a_turn_outside_of_the_prompt_is_refused(engine: Engine) -> None:
    asked = GenerationRequest(
        monitor=("flattery",), monitor_tokens=True, turns=(Turn("user", 0, len(PROMPT) + 1),)
    )
    with pytest.raises(InvalidArgumentError, match=r"prompt_turns .* from 0 to 40"):
        engine.submit(asked, PROMPT, lambda _: None)

"""Limits end an answer, or are reported, where plain hooks see its tokens go beyond a bound."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
import torch

from tests.integration.asking import GREEDY, ask, standing
from tests.integration.steered_alone import PlainSteering, answered_alone
from tests.tiny_model import make_model, make_vectors
from triton_models.contract.errors import (
    EnforcementError,
    InvalidArgumentError,
    TraitNotLoadedError,
)
from triton_models.contract.request import GenerationRequest
from triton_models.contract.steering import (
    Addition,
    Condition,
    Enforced,
    Limit,
    Operation,
    SteeringParameters,
    Window,
)
from triton_models.engine.engine import Engine
from triton_models.engine.sequence import FinishReason, TokenChunk

MODEL, VECTORS = make_model(), make_vectors()
PROMPT = [(11 * i + 5) % 256 for i in range(20)]
BLOCK = VECTORS["sarcasm"].selected_blocks[-1]
NUM_TOKENS = 16
ALWAYS = Limit("sarcasm", -1e6, above=True)

STEERINGS = [
    SteeringParameters(),
    SteeringParameters(
        traits=(Addition("sarcasm", 0.3, None, "response"),),
        when=Condition("maliciousness", 0.0, above=True, layer=0),
        window=Window(2, 9, 3),
    ),
    SteeringParameters(operations=(Operation("maliciousness", "cap", -0.5),)),
]


@dataclass
class Seen(PlainSteering):
    """Keeps the projections of the answer's steered tokens at a block."""

    projections: list[float] = field(default_factory=list)

    def steer(self, block: int, states: torch.Tensor) -> torch.Tensor:
        first = self._seen.get(block, 0)
        steered = super().steer(block, states)
        if block == BLOCK:
            after = steered @ self.direction("sarcasm", block)
            self.projections += after[max(self.num_prompt - first, 0) :].tolist()
        return steered


@pytest.fixture(scope="module", params=range(len(STEERINGS)))
def course(request: pytest.FixtureRequest) -> tuple[SteeringParameters, list[int], list[float]]:
    """A steering, the tokens of its answer, and their projections but for the last one's."""
    steering = STEERINGS[request.param]
    seen = Seen(steering, VECTORS, len(PROMPT))
    tokens = answered_alone(MODEL, seen, PROMPT, NUM_TOKENS)
    assert len(seen.projections) == len(tokens) - 1
    return steering, tokens, seen.projections


def answer(engine: Engine, steering: SteeringParameters, **fields: object) -> TokenChunk:
    request = GenerationRequest(steering, GREEDY, NUM_TOKENS, ignore_eos=True)
    (chunk,) = ask(engine, replace(request, **fields), PROMPT).all()  # type: ignore[arg-type]
    return chunk


def first_run(projections: list[float], limit: Limit) -> int | None:
    """Returns the token at which so many in a row are beyond the bound."""
    beyond = [(each > limit.bound) == limit.above for each in projections]
    ends = range(limit.over, len(beyond) + 1)
    return next((end - 1 for end in ends if all(beyond[end - limit.over : end])), None)


def between(projections: list[float], place: int) -> float:
    """Returns a bound that no projection is near: in the middle of two."""
    ordered = sorted(projections)
    return (ordered[place] + ordered[place + 1]) / 2


@pytest.mark.parametrize("above", [True, False], ids=["above", "below"])
@pytest.mark.parametrize("over", [1, 2, 3])
def test_an_answer_ends_with_the_token_that_is_too_much(
    engine: Engine,
    course: tuple[SteeringParameters, list[int], list[float]],
    over: int,
    above: bool,
) -> None:
    steering, tokens, projections = course
    stopped = 0
    with standing(engine):
        limits = [
            Limit("sarcasm", between(projections, place), above, over=over)
            for place in range(0, len(projections) - 1, 3)
        ]
        request = GenerationRequest(steering, GREEDY, NUM_TOKENS, ignore_eos=True)
        asked = [
            ask(engine, replace(request, steering=replace(steering, limits=(each,))), PROMPT)
            for each in limits
        ]
    for limit, one in zip(limits, asked, strict=True):
        (chunk,) = one.all()
        last = first_run(projections, limit)
        if last is None:
            assert (list(chunk.token_ids), chunk.limits_reached) == (tokens, ())
            assert chunk.finish_reason is FinishReason.LENGTH
            continue
        stopped += 1
        assert list(chunk.token_ids) == tokens[: last + 1]
        assert chunk.num_generated_tokens == last + 1
        assert chunk.finish_reason is FinishReason.TRAIT_LIMIT
        (reached,) = chunk.limits_reached
        assert (reached.token, reached.resolved.block) == (last, BLOCK)
        assert reached.projection == pytest.approx(projections[last], abs=1e-4)
    assert stopped


@pytest.mark.parametrize("over", [1, 2, 5, NUM_TOKENS - 1])
def test_it_stops_at_once_and_never_by_a_token_that_has_no_state(engine: Engine, over: int) -> None:
    chunk = answer(engine, SteeringParameters(limits=(replace(ALWAYS, over=over),)))
    assert len(chunk.token_ids) == over
    longest = replace(ALWAYS, over=NUM_TOKENS)
    assert answer(engine, SteeringParameters(limits=(longest,))).limits_reached == ()


def test_a_report_goes_on_and_says_where_it_began(
    engine: Engine, course: tuple[SteeringParameters, list[int], list[float]]
) -> None:
    steering, tokens, projections = course
    limits = tuple(
        Limit("sarcasm", between(projections, place), True, action="report") for place in (2, 7)
    )
    chunk = answer(engine, replace(steering, limits=limits))
    assert (list(chunk.token_ids), chunk.finish_reason) == (tokens, FinishReason.LENGTH)
    found = {each.resolved.limit: each.token for each in chunk.limits_reached}
    assert found == {limit: first_run(projections, limit) for limit in limits}
    assert [each.token for each in chunk.limits_reached] == sorted(found.values())


def test_it_is_about_what_the_model_goes_on_with(engine: Engine) -> None:
    pinned = SteeringParameters(operations=(Operation("sarcasm", "pin", 3.0, layers=(BLOCK,)),))

    def tokens(bound: float, above: bool) -> int:
        limit = Limit("sarcasm", bound, above, layer=BLOCK)
        return len(answer(engine, replace(pinned, limits=(limit,))).token_ids)

    assert [tokens(2.99, True), tokens(3.01, True)] == [1, NUM_TOKENS]
    assert [tokens(3.01, False), tokens(2.99, False)] == [1, NUM_TOKENS]


def test_a_stream_has_the_same_tokens_and_what_is_monitored_is_read_beside(engine: Engine) -> None:
    limits = (replace(ALWAYS, over=4),)
    whole = answer(engine, SteeringParameters(limits=limits), monitor=("sarcasm", "maliciousness"))
    assert whole.readouts is not None
    assert BLOCK in whole.readouts["sarcasm"]
    request = GenerationRequest(SteeringParameters(limits=limits), GREEDY, NUM_TOKENS, stream=True)
    chunks = ask(engine, replace(request, ignore_eos=True), PROMPT).all()
    streamed = [token for chunk in chunks for token in chunk.token_ids]
    assert (streamed, chunks[-1].num_generated_tokens) == (list(whole.token_ids), 4)
    assert [each.limits_reached for each in chunks[:-1]] == [()] * (len(chunks) - 1)


def test_what_a_policy_enforces_holds_beside_the_request_s_own(engine: Engine) -> None:
    enforced = Enforced(limits=(replace(ALWAYS, over=3),))
    for own in ((), (replace(ALWAYS, over=5),)):
        chunk = answer(engine, SteeringParameters(limits=own, enforced=enforced))
        assert [each.resolved.is_enforced for each in chunk.limits_reached] == [True]
        assert (len(chunk.token_ids), chunk.enforced) == (3, enforced)
    chunk = answer(engine, SteeringParameters(limits=(ALWAYS,), enforced=enforced))
    assert [each.resolved.is_enforced for each in chunk.limits_reached] == [False]
    assert answer(engine, SteeringParameters()).enforced is None


@pytest.mark.parametrize(
    ("limit", "kind", "reason"),
    [
        (Limit("x", 1.0, True), TraitNotLoadedError, "unknown trait 'x'"),
        (Limit("sarcasm", 1.0, True, layer=99), InvalidArgumentError, "no layer 99"),
        (Limit("sarcasm", 90.0, True, "percentile"), InvalidArgumentError, "calibrat"),
    ],
)
def test_what_cannot_be_watched_is_refused(
    engine: Engine, limit: Limit, kind: type[Exception], reason: str
) -> None:
    with pytest.raises(kind, match=reason):
        answer(engine, SteeringParameters(limits=(limit,)))
    with pytest.raises(EnforcementError, match=f"policy enforces cannot be applied: .*{reason}"):
        answer(engine, SteeringParameters(enforced=Enforced(limits=(limit,))))


def test_limits_that_were_reached_are_counted_by_trait_and_action(fresh_engine: Engine) -> None:
    report = replace(ALWAYS, action="report")
    unreached = Limit("maliciousness", 1e6, above=True)
    answer(fresh_engine, SteeringParameters(limits=(report, replace(ALWAYS, over=2), unreached)))
    statistics = fresh_engine.statistics
    assert statistics.limits_reached == {"sarcasm": {"report": 1, "stop": 1}}
    assert (statistics.finished, statistics.generated_tokens) == (1, 2)

"""One prompt, answered several times under different steering, in one batch."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.api.comparison import ComparedGeneration, Comparison, at_place
from gateway.api.comparison_bodies import (
    ComparedAnswer,
    CompareRequest,
    CompareResponse,
    OneAnswer,
    Origin,
    SweepRequest,
    SweepResponse,
    SweptAnswer,
)
from gateway.api.dependencies import Gateway, GatewayDependency
from gateway.api.ensemble_requests import request_of, sent_vectors, steering_inputs
from gateway.api.generate import FAILURES
from gateway.api.response_bodies import IN_PIECES
from gateway.api.steering_fields import SteeringFields
from gateway.api.vector_parts import PartsRoute
from gateway.ensemble_request import EnsembleRequest
from gateway.errors import UnknownTraitError, UnprocessableError
from gateway.http.client_disconnect import run_until_disconnect
from gateway.http.server_sent_events import EventStream
from gateway.traits.trait_changes import unknown_trait

A = TypeVar("A", bound=OneAnswer)

router = APIRouter(prefix="/api/v1", tags=["generate"], route_class=PartsRoute)

# JavaScript must be able to send it back.
_SEED_BITS = 32

_STREAM_EXAMPLE = (
    'event: chunk\ndata: {"index":1,"text":"Put the egg","tokens_generated":4}\n\n'
    'event: answer\ndata: {"index":1,"success":true,"response":"Put the egg in ...", ...}\n\n'
    'event: done\ndata: {"success":true,"seed":1234,"model":"...","weights_sha256":"...",'
    '"vectors":{"sarcasm":"..."},"failed":0}\n\n'
)

_RESPONSES = FAILURES | {
    200: {
        "description": "The answers; with `stream`, as server-sent events.",
        "content": {"text/event-stream": {"example": _STREAM_EXAMPLE}},
    }
}


@dataclass(frozen=True)
class _Asked(Generic[A]):
    """One of the answers that a body asks for."""

    index: int
    place: str
    steering: SteeringFields | None
    finish: Callable[..., A]


@router.post("/compare", response_model=CompareResponse, responses=_RESPONSES)
async def compare(
    body: CompareRequest, request: Request, gateway: GatewayDependency
) -> CompareResponse | Response:
    """Answers a prompt under each of several steerings, and without."""
    asked = [
        _Asked(
            number + 1,
            f"steerings.{number}",
            steering,
            partial(ComparedAnswer, label=steering.title, steering=steering),
        )
        for number, steering in enumerate(body.steerings)
    ]
    if body.baseline:
        unsteered = partial(ComparedAnswer, label="baseline", steering=None)
        asked.insert(0, _Asked(0, "", None, unsteered))
    # What is wrong whatever the steering has no place in one.
    vectors = await sent_vectors(body.vectors, gateway.settings)
    shared = request_of(body, gateway.settings).bringing(vectors)
    origin = await _origin(shared, [(each.place, each.steering) for each in asked], gateway)
    comparison = await _comparison(shared, origin, asked, request, gateway)
    if body.stream:
        return _stream(comparison, gateway)
    answers = await run_until_disconnect(request.receive, comparison.complete())
    return CompareResponse(
        **dict(origin),
        success=all(answer.success for answer in answers),
        baseline=answers.pop(0) if body.baseline else None,
        answers=answers,
    )


@router.post("/sweep", response_model=SweepResponse, responses=_RESPONSES)
async def sweep(
    body: SweepRequest, request: Request, gateway: GatewayDependency
) -> SweepResponse | Response:
    """Answers a prompt at each of several scalars of a trait, or values of an operation.

    With `positions` = `response` all of them share one computation of the prompt, unless its turns
    are to be read.
    """
    trait, scored = body.swept_trait, body.swept_trait if body.scores else None
    name = "scalar" if body.operation is None else "value"
    series, steerings = body.scalars or body.values or [], body.steerings
    asked = [
        _Asked(number, f"{name}s.{number}", steering, partial(_swept, scored, {name: at}))
        for number, (at, steering) in enumerate(zip(series, steerings, strict=True))
    ]
    monitored = [*(body.monitor or ()), *([trait] if body.scores else ())]
    update: dict[str, Any] = {"monitor": monitored}
    more: dict[str, Sequence[Any]] = {}
    hidden: Set[str] = frozenset()
    if body.scores and not body.monitor_tokens:
        # What is read before steering comes with the tokens only; nobody asked for the turns.
        update["monitor_tokens"], more, hidden = True, {"monitor_turns": [False]}, IN_PIECES
    vectors = await sent_vectors(body.vectors, gateway.settings)
    whole = body.model_copy(update=update)
    shared = request_of(whole, gateway.settings, more=more).bringing(vectors)
    origin = await _origin(shared, [("", steerings[0])], gateway)
    comparison = await _comparison(shared, origin, asked, request, gateway, hidden)
    if body.stream:
        return _stream(comparison, gateway)
    answers = await run_until_disconnect(request.receive, comparison.complete())
    return SweepResponse(
        **dict(origin),
        success=all(answer.success for answer in answers),
        trait=trait,
        layers=body.layers,
        positions=body.positions,
        operation=body.operation,
        steering=body.steering,
        answers=answers,
    )


def _swept(scored: str | None, at: Mapping[str, float], **fields: Any) -> SweptAnswer:
    after = (fields.get("readouts") or {}).get(scored, {}).values()
    before = [
        mean["before"]
        for token in fields.get("token_readouts") or ()
        for mean in token["readouts"].get(scored, {}).values()
    ]
    scores = {"score": _mean(after), "net_score": _mean(before)}
    return SweptAnswer(**{"scalar": None, **fields, **at, **scores})


def _mean(numbers: Collection[float]) -> float | None:
    return sum(numbers) / len(numbers) if numbers else None


async def _origin(
    shared: EnsembleRequest, used: Iterable[tuple[str, SteeringFields | None]], gateway: Gateway
) -> Origin:
    """Says what the answers are made with, and draws a seed for all if the request has none.

    Unknown traits are refused before anything runs, since answers may be sent before the last does.

    Raises:
        GatewayError: There is no such trait, or the model cannot be asked.
    """
    description = await gateway.description.get()
    # Older model servers say no hash.
    known = {name: trait.get("sha256", "") for name, trait in description["traits"].items()}
    known |= shared.vector_digests
    named = set(shared.parsed.monitor)
    for place, steering in used:
        of_steering = steering.named_traits if steering is not None else set()
        for name in sorted(of_steering):
            if name not in known:
                raise UnknownTraitError(at_place(place, unknown_trait(name, description).message))
        named |= of_steering
    seed = shared.parsed.sampling.seed
    return Origin(
        seed=secrets.randbits(_SEED_BITS) if seed is None else seed,
        model=description["model"],
        weights_sha256=description["model_info"].get("weights_sha256", ""),
        # A monitored trait that is unknown is refused by the model.
        vectors={name: known[name] for name in sorted(named & known.keys())},
    )


async def _comparison(
    shared: EnsembleRequest,
    origin: Origin,
    asked: Sequence[_Asked[A]],
    request: Request,
    gateway: Gateway,
    hidden: Set[str] = frozenset(),
) -> Comparison[A]:
    """Prepares all answers, or refuses them.

    Raises:
        GatewayError: A value is out of range, or the model is known to be down.
    """
    seeded = shared.seeded(origin.seed)
    variants = [_steered(seeded, each) for each in asked]
    logprobs = shared.parsed.logprobs is not None
    generations = await gateway.triton.generate_all(variants)
    branches = [
        ComparedGeneration(each.index, each.place, generation, each.finish, logprobs, hidden)
        for each, generation in zip(asked, generations, strict=True)
    ]
    return Comparison(branches, origin, request.state.log_fields)


def _steered(shared: EnsembleRequest, asked: _Asked[Any]) -> EnsembleRequest:
    if asked.steering is None:
        return shared
    try:
        return shared.steered(steering_inputs(asked.steering))
    except UnprocessableError as error:
        raise UnprocessableError(at_place(asked.place, error.message)) from error


def _stream(comparison: Comparison[Any], gateway: Gateway) -> EventStream:
    heartbeat = gateway.settings.heartbeat_interval
    return EventStream(comparison.events(), heartbeat, comparison.error_event)

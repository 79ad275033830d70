"""What calls return."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from persona_client.readouts import (
    CalibratedReadouts,
    Readouts,
    TokenReadout,
    TurnReadout,
    by_block,
    read_calibrated_readouts,
    read_readouts,
    read_token_readouts,
    read_turn_readouts,
)
from persona_client.steering import Limit, Operation


def fields_in(
    body: Mapping[str, Any], kind: type[Any], **readers: Callable[[Any], Any]
) -> dict[str, Any]:
    """Returns the fields of a dataclass that a body has, read by their reader if they have one."""
    found = {each.name: body[each.name] for each in fields(kind) if each.name in body}
    for name, read in readers.items():
        if found.get(name) is not None:
            found[name] = read(found[name])
    return found


@dataclass(frozen=True)
class LikelyToken:
    """A token, and how likely it was.

    Attributes:
        token: Its text, or a special token's name.
        bytes: Its bytes, which can be a part of a character; a special token has none.
        logprob: The natural logarithm of its probability under the steered model.
    """

    token: str
    bytes: tuple[int, ...]
    logprob: float


@dataclass(frozen=True)
class TokenLogprob(LikelyToken):
    """A token of an answer, how likely it was, and what was likely there, the likeliest first."""

    top_logprobs: tuple[LikelyToken, ...] = ()


def read_logprobs(items: Iterable[Mapping[str, Any]]) -> tuple[TokenLogprob, ...]:
    """Reads what the server says about tokens."""
    return tuple(
        TokenLogprob(
            item["token"],
            tuple(item["bytes"]),
            item["logprob"],
            tuple(
                LikelyToken(top["token"], tuple(top["bytes"]), top["logprob"])
                for top in item["top_logprobs"]
            ),
        )
        for item in items
    )


@dataclass(frozen=True)
class PromptToken:
    """A token of a prompt, and how likely it was; or one that could have stood at its place.

    Attributes:
        id: The token's id.
        token: Its text, or a special token's name.
        bytes: Its bytes, which can be a part of a character; a special token's are its name.
        logprob: The natural logarithm of its probability under the steered model; `None` for the
            prompt's first token, which nothing precedes.
        rank: 1 if it was the likeliest; `None` for the first token.
        top_logprobs: The likeliest tokens at its place, the likeliest first.
    """

    id: int
    token: str
    bytes: tuple[int, ...]
    logprob: float | None
    rank: int | None
    top_logprobs: tuple[PromptToken, ...] = ()

    @classmethod
    def from_json(cls, item: Mapping[str, Any], rank: int | None) -> PromptToken:
        """Reads what the server says about a token."""
        tops = enumerate(item.get("top_logprobs", ()), start=1)
        return cls(
            id=item["id"],
            token=item["token"],
            bytes=tuple(item["bytes"]),
            logprob=item["logprob"],
            rank=rank,
            top_logprobs=tuple(cls.from_json(top, place) for place, top in tops),
        )


def read_prompt_logprobs(items: Iterable[Mapping[str, Any]]) -> tuple[PromptToken, ...]:
    """Reads what the server says about a prompt's tokens."""
    return tuple(PromptToken.from_json(item, item["rank"]) for item in items)


@dataclass(frozen=True)
class ConditionMet:
    """How often the condition of a steering held.

    Attributes:
        tokens: How many of the answer's tokens were looked at.
        met: How many of these met the condition, and were steered.
    """

    tokens: int
    met: int


def read_condition(body: Mapping[str, int]) -> ConditionMet:
    """Reads what the server says about a condition."""
    return ConditionMet(body["tokens"], body["met"])


@dataclass(frozen=True)
class LimitReached:
    """A limit that an answer has reached.

    Attributes:
        enforced: Whether it is the server's policy's, and not the request's.
        bound: Its bound as a projection, whatever its unit.
        projection: The projection that was beyond it.
        token: The token of the answer, from 0, that it was reached with.
    """

    limit: Limit
    enforced: bool
    bound: float
    projection: float
    token: int

    def __str__(self) -> str:
        """Says what happened."""
        what = "ended the answer" if self.limit.action == "stop" else "was reached"
        whose = "the policy's limit" if self.enforced else "the limit"
        return f"{whose} {self.limit} {what} at token {self.token}"


def read_limits_reached(items: Iterable[Mapping[str, Any]]) -> tuple[LimitReached, ...]:
    """Reads what the server says about limits."""
    return tuple(
        LimitReached(
            Limit(**fields_in(item, Limit)),
            item["enforced"],
            item["bound"],
            item["projection"],
            item["token"],
        )
        for item in items
    )


@dataclass(frozen=True)
class Enforced:
    """What the server's policy has added to a request."""

    operations: tuple[Operation, ...] = ()
    limits: tuple[Limit, ...] = ()

    def __str__(self) -> str:
        """Says it in words."""
        limits = [f"{each.action or 'stop'} at {each}" for each in self.limits]
        return ", ".join([*map(str, self.operations), *limits])


def read_enforced(body: Mapping[str, Any]) -> Enforced:
    """Reads what the server says about its policy."""
    return Enforced(
        tuple(Operation(**fields_in(each, Operation, layers=tuple)) for each in body["operations"]),
        tuple(Limit(**fields_in(each, Limit)) for each in body["limits"]),
    )


ANSWER_READERS: Mapping[str, Callable[[Any], Any]] = {
    "logprobs": read_logprobs,
    "prompt_logprobs": read_prompt_logprobs,
    "readouts": read_readouts,
    "calibrated_readouts": read_calibrated_readouts,
    "turn_readouts": read_turn_readouts,
    "token_readouts": read_token_readouts,
    "condition": read_condition,
    "limits_reached": read_limits_reached,
    "enforced": read_enforced,
    "warnings": tuple,
}
"""How what an answer says is read, where it is not taken as it is."""


@dataclass(frozen=True)
class Chunk:
    """A piece of an answer that is being streamed.

    Attributes:
        tokens_generated: How many tokens the answer has so far.
        logprobs: How likely each of the new tokens was, if asked for.
        prompt_logprobs: How likely each of the prompt's tokens was, once, if asked for.
        turn_readouts: What was read in each turn of the prompt, once, if asked for.
        token_readouts: What was read at each of the new tokens, if asked for.
    """

    text: str
    tokens_generated: int
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt_logprobs: tuple[PromptToken, ...] = ()
    turn_readouts: tuple[TurnReadout, ...] = ()
    token_readouts: tuple[TokenReadout, ...] = ()

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Chunk:
        """Reads the data of a `chunk` event."""
        return cls(
            text=body["text"],
            tokens_generated=body["tokens_generated"],
            logprobs=read_logprobs(body.get("logprobs") or ()),
            prompt_logprobs=read_prompt_logprobs(body.get("prompt_logprobs") or ()),
            turn_readouts=read_turn_readouts(body.get("turn_readouts") or ()),
            token_readouts=read_token_readouts(body.get("token_readouts") or ()),
        )


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A whole answer, alone or one of several.

    Attributes:
        response: The text; of a failed answer, as far as it came.
        finish_reason: `stop` at a natural end, `length` at the most tokens allowed,
            `trait_limit` at a limit, `error` of one of several that failed.
        reused_tokens: How many of the prompt's tokens were not computed anew.
        logprobs: How likely each token was, if asked for.
        prompt_logprobs: How likely each of the prompt's tokens was, if asked for.
        readouts: What was read of the monitored traits, if any were.
        calibrated_readouts: What the readouts say, of traits with a calibrated vector.
        condition: How often the steering's condition held, if it has one.
        limits_reached: The limits that it has reached, in that order.
        enforced: What the server's policy has added to the request, if it has.
        turn_readouts: What was read in each turn of the prompt, if asked for and, of one of
            several, not in a stream.
        token_readouts: What was read at each token, likewise.
        warnings: What to know about the steering.
    """

    response: str
    tokens_generated: int
    finish_reason: str = ""
    prompt_tokens: int = 0
    reused_tokens: int = 0
    logprobs: tuple[TokenLogprob, ...] | None = None
    prompt_logprobs: tuple[PromptToken, ...] | None = None
    readouts: Readouts | None = None
    calibrated_readouts: CalibratedReadouts = field(default_factory=dict)
    condition: ConditionMet | None = None
    limits_reached: tuple[LimitReached, ...] = ()
    enforced: Enforced | None = None
    turn_readouts: tuple[TurnReadout, ...] = ()
    token_readouts: tuple[TokenReadout, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Completion(Answer):
    """The answer to a call for one.

    Attributes:
        trait: The trait it was steered by, or `None`.
        scalar: How strongly.
    """

    trait: str | None
    scalar: float

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Completion:
        """Reads the body of a successful answer."""
        return cls(**fields_in(body, cls, **ANSWER_READERS))


@dataclass(frozen=True)
class Trait:
    """A trait that requests can name.

    Attributes:
        model_name: The model whose activations its vector was taken from.
        layers: The decoder blocks that its vector has a direction for.
        warnings: What to know before trusting it.
        selected_layers: The blocks that it steers unless the request says otherwise.
        recommended_range: The least and the greatest scalar known to work, if known.
        unit_scale: By pole, `positive` and `negative`, the scalar that does as much as asking in
            the system prompt does, if both are known for the selected layers.
        norms: By block, its vector's length.
        relative_norms: By block, the same as a share of the residual stream's length there.
        source: The file it comes from, within the server's folder of vectors.
        sha256: That file's SHA-256.
        state: `loaded`, or `kept` if its file cannot be used any more and its last good content is.
        operation: What its vector is meant for, with `kind` and, but for `ablate`, `value` and
            `unit`: scalars are its strength; `None` if it is added.
        calibration: Whether its vector's calibration is `usable`, the `reason` if not, and what it
            was measured with; `None` if it has none.
    """

    name: str
    model_name: str
    layers: tuple[int, ...]
    layer_count: int
    metadata: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    selected_layers: tuple[int, ...] = ()
    recommended_range: tuple[float, float] | None = None
    unit_scale: Mapping[str, float] | None = None
    norms: Mapping[int, float] = field(default_factory=dict)
    relative_norms: Mapping[int, float] = field(default_factory=dict)
    source: str = ""
    sha256: str = ""
    state: str = "loaded"
    operation: Mapping[str, Any] | None = None
    calibration: Mapping[str, Any] | None = None

    @property
    def calibrated(self) -> bool:
        """Whether its vector is calibrated for the model that is served."""
        return self.calibration is not None and self.calibration["usable"] is True

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Trait:
        """Reads one trait of the server's answer."""
        return cls(
            name=body["trait_name"],
            **fields_in(
                body,
                cls,
                layers=tuple,
                warnings=tuple,
                selected_layers=tuple,
                recommended_range=tuple,
                norms=by_block,
                relative_norms=by_block,
            ),
        )


def _traits(body: Mapping[str, Any]) -> dict[str, Trait]:
    return {name: Trait.from_json(item) for name, item in body.items()}


@dataclass(frozen=True)
class Status:
    """What a server serves, and whether it can be used now.

    Attributes:
        ready: Whether it generates.
        traits: What is known about each trait.
        problems: Vector files that it could not use, each with its `source` and `reason`.
        error: Why it is not ready.
    """

    ready: bool
    model: str
    device: str
    available_traits: tuple[str, ...]
    model_info: Mapping[str, Any] = field(default_factory=dict)
    engine: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[Mapping[str, Any], ...] = ()
    error: str | None = None
    traits: Mapping[str, Trait] = field(default_factory=dict)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Status:
        """Reads the server's answer."""
        return cls(
            ready=body["status"] == "ready",
            **fields_in(body, cls, available_traits=tuple, problems=tuple, traits=_traits),
        )

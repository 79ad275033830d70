"""What a comparison and a sweep are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from persona_client.readouts import CalibratedReadouts, Readouts, TokenReadout, TurnReadout
from persona_client.results import (
    ANSWER_READERS,
    Chunk,
    ConditionMet,
    Enforced,
    LimitReached,
    PromptToken,
    TokenLogprob,
    fields_in,
)


@dataclass(frozen=True)
class OneAnswer:
    """One answer of several.

    Attributes:
        response: The text; of a failed answer, as far as it came.
        finish_reason: `stop` at a natural end, `length` at the most tokens allowed,
            `trait_limit` at a limit, `error`.
        reused_tokens: How many of the prompt's tokens were not computed anew.
        logprobs: How likely each token was, if asked for.
        prompt_logprobs: How likely each of the prompt's tokens was, if asked for.
        readouts: What was read of the monitored traits, if any were.
        calibrated_readouts: What the readouts say, of traits with a calibrated vector.
        condition: How often the steering's condition held, if it has one.
        limits_reached: The limits that it has reached, in that order.
        enforced: What the server's policy has added to the request, if it has.
        turn_readouts: What was read in each turn of the prompt, if asked for and not in a stream.
        token_readouts: What was read at each token, likewise.
        warnings: What to know about the steering.
        code: The server's word for why it failed.
    """

    index: int
    success: bool
    response: str
    tokens_generated: int
    finish_reason: str
    prompt_tokens: int
    reused_tokens: int
    logprobs: tuple[TokenLogprob, ...] | None
    prompt_logprobs: tuple[PromptToken, ...] | None
    readouts: Readouts | None
    calibrated_readouts: CalibratedReadouts
    condition: ConditionMet | None
    limits_reached: tuple[LimitReached, ...]
    enforced: Enforced | None
    turn_readouts: tuple[TurnReadout, ...]
    token_readouts: tuple[TokenReadout, ...]
    warnings: tuple[str, ...]
    error: str | None
    code: str | None


def _common(body: Mapping[str, Any]) -> dict[str, Any]:
    optional: dict[str, Any] = {
        "logprobs": None,
        "prompt_logprobs": None,
        "readouts": None,
        "calibrated_readouts": {},
        "condition": None,
        "limits_reached": (),
        "enforced": None,
        "turn_readouts": (),
        "token_readouts": (),
        "code": None,
    }
    return {**optional, **fields_in(body, OneAnswer, **ANSWER_READERS)}


@dataclass(frozen=True)
class ComparedAnswer(OneAnswer):
    """An answer of a comparison, by the server's label for it; 0 is the baseline's index."""

    label: str
    traits: Mapping[str, float]

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> ComparedAnswer:
        """Reads an answer, or the data of an `answer` event."""
        traits: dict[str, float] = {}
        for trait in (body["steering"] or {"traits": ()})["traits"]:
            traits[trait["name"]] = traits.get(trait["name"], 0.0) + trait["scalar"]
        return cls(**_common(body), label=body["label"], traits=traits)


@dataclass(frozen=True)
class SweptAnswer(OneAnswer):
    """An answer of a sweep; its index is the place of its scalar or value.

    Attributes:
        scalar: The trait's scalar; `None` if the sweep was over an operation's values.
        value: The operation's value, if it was over those.
        score: How far it points along the trait, if scores were asked for and it could be read.
    """

    scalar: float | None
    score: float | None
    value: float | None = None

    @property
    def number(self) -> float:
        """The scalar, or the value."""
        return (self.value if self.scalar is None else self.scalar) or 0.0

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> SweptAnswer:
        """Reads an answer, or the data of an `answer` event."""
        scalar, value, score = (body.get(name) for name in ("scalar", "value", "score"))
        return cls(**_common(body), scalar=scalar, score=score, value=value)


@dataclass(frozen=True)
class Comparison:
    """The answers to one prompt under several steerings.

    Attributes:
        success: Whether all answers are complete.
        seed: The seed that all have; to give again, for the same answers.
        baseline: The answer without steering, unless it was left out.
    """

    success: bool
    seed: int
    baseline: ComparedAnswer | None
    answers: tuple[ComparedAnswer, ...]

    @property
    def all_answers(self) -> tuple[ComparedAnswer, ...]:
        """The baseline, if there is one, and the steered answers."""
        return self.answers if self.baseline is None else (self.baseline, *self.answers)

    @classmethod
    def of_answers(
        cls, success: bool, seed: int, answers: tuple[ComparedAnswer, ...]
    ) -> Comparison:
        """Makes it of all answers, the baseline first if there is one."""
        if answers and answers[0].index == 0:
            return cls(success, seed, answers[0], answers[1:])
        return cls(success, seed, None, answers)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Comparison:
        """Reads the body of a successful call."""
        baseline = [] if body["baseline"] is None else [body["baseline"]]
        answers = tuple(map(ComparedAnswer.from_json, [*baseline, *body["answers"]]))
        return cls.of_answers(body["success"], body["seed"], answers)


@dataclass(frozen=True)
class Sweep:
    """The answers to one prompt at several scalars or values, in order; see `Comparison`."""

    success: bool
    seed: int
    answers: tuple[SweptAnswer, ...]

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Sweep:
        """Reads the body of a successful call."""
        answers = tuple(map(SweptAnswer.from_json, body["answers"]))
        return cls(success=body["success"], seed=body["seed"], answers=answers)


@dataclass(frozen=True)
class AnswerChunk(Chunk):
    """A piece of one of several answers that are being streamed."""

    index: int = 0

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> AnswerChunk:
        """Reads the data of a `chunk` event."""
        return cls(**vars(Chunk.from_json(body)), index=body["index"])

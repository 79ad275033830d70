"""What a comparison and a sweep are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from persona_client.results import ANSWER_READERS, Answer, Chunk, fields_in


@dataclass(frozen=True, kw_only=True)
class OneAnswer(Answer):
    """One answer of several.

    Attributes:
        code: The server's word for why it failed.
    """

    index: int
    success: bool
    error: str | None
    code: str | None = None


def _fields(body: Mapping[str, Any]) -> dict[str, Any]:
    return fields_in(body, OneAnswer, **ANSWER_READERS)


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
        return cls(**_fields(body), label=body["label"], traits=traits)


_SWEPT = ("scalar", "value", "score", "net_score")


@dataclass(frozen=True)
class SweptAnswer(OneAnswer):
    """An answer of a sweep; its index is the place of its scalar or value.

    Attributes:
        scalar: The trait's scalar; `None` if the sweep was over an operation's values.
        value: The operation's value, if it was over those.
        score: How far it points along the trait, if scores were asked for and it could be read.
        net_score: The same without what steering itself adds where it is read.
    """

    scalar: float | None
    score: float | None
    value: float | None = None
    net_score: float | None = None

    @property
    def number(self) -> float:
        """The scalar, or the value."""
        return (self.value if self.scalar is None else self.scalar) or 0.0

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> SweptAnswer:
        """Reads an answer, or the data of an `answer` event."""
        own: dict[str, Any] = {name: body.get(name) for name in _SWEPT}
        return cls(**_fields(body), **own)


@dataclass(frozen=True)
class SeveralAnswers:
    """What is common to all answers of a call.

    Attributes:
        success: Whether all answers are complete.
        seed: The seed that all have; to give again, for the same answers.
        model: The model that answered.
        weights_sha256: A hash of its weights.
        vectors: For each trait that is steered or monitored the SHA-256 of its vector's file.
    """

    success: bool
    seed: int
    model: str
    weights_sha256: str
    vectors: Mapping[str, str]


def _of_all(body: Mapping[str, Any]) -> dict[str, Any]:
    # Older servers do not say what the answers were made with.
    unknown = {"model": "", "weights_sha256": "", "vectors": {}}
    return {**unknown, **fields_in(body, SeveralAnswers)}


@dataclass(frozen=True)
class Comparison(SeveralAnswers):
    """The answers to one prompt under several steerings.

    Attributes:
        baseline: The answer without steering, unless it was left out.
    """

    baseline: ComparedAnswer | None
    answers: tuple[ComparedAnswer, ...]

    @property
    def all_answers(self) -> tuple[ComparedAnswer, ...]:
        """The baseline, if there is one, and the steered answers."""
        return self.answers if self.baseline is None else (self.baseline, *self.answers)

    def rows(self, **columns: Any) -> list[dict[str, Any]]:
        """Returns a row for each answer, as `pandas.DataFrame` takes them; see `Sweep.rows`."""
        return [
            columns | {"label": each.label, "steering": _steering_text(each.traits)} | row
            for each, row in zip(self.all_answers, _rows(self, self.all_answers), strict=True)
        ]

    @classmethod
    def of_answers(cls, body: Mapping[str, Any], answers: tuple[ComparedAnswer, ...]) -> Comparison:
        """Makes it of all answers, the baseline first if there is one."""
        if answers and answers[0].index == 0:
            return cls(**_of_all(body), baseline=answers[0], answers=answers[1:])
        return cls(**_of_all(body), baseline=None, answers=answers)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Comparison:
        """Reads the body of a successful call."""
        baseline = [] if body["baseline"] is None else [body["baseline"]]
        answers = tuple(map(ComparedAnswer.from_json, [*baseline, *body["answers"]]))
        return cls.of_answers(body, answers)


@dataclass(frozen=True)
class Sweep(SeveralAnswers):
    """The answers to one prompt at several scalars or values, in order."""

    answers: tuple[SweptAnswer, ...]

    def rows(self, **columns: Any) -> list[dict[str, Any]]:
        """Returns a row for each answer, as `pandas.DataFrame` takes them.

        A monitored trait's mean projection at a block is in a column such as `sarcasm@15`.

        Args:
            **columns: What to put before it in every row, such as the prompt.
        """
        return [
            columns | {name: getattr(each, name) for name in _SWEPT} | row
            for each, row in zip(self.answers, _rows(self, self.answers), strict=True)
        ]

    @classmethod
    def of_answers(cls, body: Mapping[str, Any], answers: tuple[SweptAnswer, ...]) -> Sweep:
        """Makes it of all answers."""
        return cls(**_of_all(body), answers=answers)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Sweep:
        """Reads the body of a successful call."""
        return cls.of_answers(body, tuple(map(SweptAnswer.from_json, body["answers"])))


_IN_ROWS = ("response", "tokens_generated", "finish_reason", "error")


def _rows(whole: SeveralAnswers, answers: Sequence[OneAnswer]) -> Iterator[dict[str, Any]]:
    origin = {
        "seed": whole.seed,
        "model": whole.model,
        "weights_sha256": whole.weights_sha256,
        "vectors": " ".join(f"{trait}:{sha256}" for trait, sha256 in whole.vectors.items()),
    }
    for answer in answers:
        readouts = {
            f"{trait}@{block}": mean
            for trait, means in (answer.readouts or {}).items()
            for block, mean in means.items()
        }
        warnings = " ".join(answer.warnings)
        measured = {name: getattr(answer, name) for name in _IN_ROWS}
        yield {**measured, "warnings": warnings, **readouts, **origin}


def _steering_text(traits: Mapping[str, float]) -> str:
    return ",".join(f"{trait}={scalar:g}" for trait, scalar in traits.items())


@dataclass(frozen=True)
class AnswerChunk(Chunk):
    """A piece of one of several answers that are being streamed."""

    index: int = 0

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> AnswerChunk:
        """Reads the data of a `chunk` event."""
        return cls(**vars(Chunk.from_json(body)), index=body["index"])

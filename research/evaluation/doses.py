"""What answers at one strength of steering look like, and how that changes with the strength."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from persona_research.evaluation.estimates import Estimate, mean, per_token, perplexity
from triton_models.vectors.persona_vector import PersonaVector


@dataclass(frozen=True, slots=True)
class MeasuredAnswer:
    """An answer and what was measured of it.

    Attributes:
        score: The judge's trait score, on its scale; None when the judge gave none.
        loss: Negative log likelihood of the answer for the unsteered model, in nats.
        loss_tokens: How many tokens that is the sum of, and the divergence.
        repetition: The share of the text that repeats it, 0 to 1.
        ended: Whether it ended by itself, rather than at the token limit.
        divergence: KL divergence of the model as it answered from the one that is asked the
            question alone, unsteered, summed over the answer, in nats.
    """

    question: str
    text: str
    score: float | None
    loss: float
    loss_tokens: int
    repetition: float
    tokens: int
    ended: bool
    divergence: float = 0.0


@dataclass(frozen=True, slots=True)
class Dose:
    """A summary of the answers to the same questions at one strength.

    Attributes:
        unscored: How many answers the judge gave no score; the score leaves them out.
        score: Mean trait score, on the judge's scale.
        perplexity: Perplexity per token for the unsteered model.
        divergence: KL divergence from the unsteered model, in nats per token.
        ended: Share of answers that ended by themselves.
    """

    scalar: float
    answers: int
    unscored: int
    score: Estimate
    perplexity: Estimate
    divergence: Estimate
    repetition: Estimate
    tokens: Estimate
    ended: float


@dataclass(frozen=True, slots=True)
class DoseCurve:
    """Doses of one vector added to the same blocks.

    Attributes:
        doses: From the lowest scalar to the highest; 0 is among them.
        residual_share: What scalar 1 adds, as a share of the residual stream's norm: the vector's
            norm over the residual's, summed over the blocks.
    """

    blocks: tuple[int, ...]
    doses: tuple[Dose, ...]
    residual_share: float

    @property
    def unsteered(self) -> Dose:
        """The dose at scalar 0."""
        return self.at(0.0)

    @property
    def scalars(self) -> tuple[float, ...]:
        """The scalars, rising."""
        return tuple(dose.scalar for dose in self.doses)

    def at(self, scalar: float) -> Dose:
        """The dose at a scalar of the grid."""
        return next(dose for dose in self.doses if dose.scalar == scalar)


def by_question(answers: Sequence[MeasuredAnswer]) -> dict[str, list[MeasuredAnswer]]:
    """The answers to each question, of which there may be several, in their order."""
    groups: dict[str, list[MeasuredAnswer]] = {}
    for answer in answers:
        groups.setdefault(answer.question, []).append(answer)
    return groups


def summarise(scalar: float, answers: Sequence[MeasuredAnswer], seed: int = 0) -> Dose:
    """Summarises the answers at one strength, of which there must be at least one.

    Intervals are over questions: several answers to one stand together.
    """
    groups = list(by_question(answers).values())
    scores = [[each.score for each in group if each.score is not None] for group in groups]
    tokens = [sum(each.loss_tokens for each in group) for group in groups]
    losses = [sum(each.loss for each in group) for group in groups]
    divergences = [sum(each.divergence for each in group) for group in groups]
    return Dose(
        scalar=scalar,
        answers=len(answers),
        unscored=len(answers) - sum(map(len, scores)),
        score=mean([fmean(group) for group in scores if group], seed),
        perplexity=perplexity(list(zip(losses, tokens, strict=True)), seed),
        divergence=per_token(list(zip(divergences, tokens, strict=True)), seed),
        repetition=mean([fmean(each.repetition for each in group) for group in groups], seed),
        tokens=mean([fmean(each.tokens for each in group) for group in groups], seed),
        ended=fmean(answer.ended for answer in answers),
    )


def residual_share(
    vector: PersonaVector, blocks: Sequence[int], residual_norms: Mapping[int, float]
) -> float:
    """What scalar 1 adds to these blocks, as a share of the residual's norm, summed over them."""
    return sum(vector.norms[block] / residual_norms[block] for block in blocks)

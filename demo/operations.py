"""Measures on held-out prompts what bounds and conditions do to the demo model's answers.

The answers are the engine's own: greedy, all of a way to ask in one batch after the other.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from operator import eq
from statistics import fmean

from persona_demo.evaluation import SHOWS_AT
from persona_demo.grammar import well_formed_share
from persona_demo.questions import Prompt
from persona_research.answering import chat
from persona_research.definitions import TraitDefinition
from persona_research.judges import RuleJudge
from persona_research.judges.judge import NEUTRAL
from triton_models.contract.chat import Chat
from triton_models.contract.request import GenerationRequest, SamplingParameters
from triton_models.contract.steering import (
    Condition,
    Limit,
    Operation,
    Positions,
    SteeringParameters,
)
from triton_models.engine.build import BuiltEngine, build_engine
from triton_models.engine.sequence import FinishReason, TokenChunk
from triton_models.settings import DATA_ROOT, DEMO_MODEL_FOLDER, ServerSettings
from triton_models.text.chat import ChatTemplate
from triton_models.text.prompt_piece import token_ids

ALL_LAYERS = (0, 1, 2, 3)
"""The demo model's decoder blocks."""

_REQUEST = GenerationRequest(
    sampling=SamplingParameters(temperature=0.0), max_tokens=120, logprobs=0
)
_PATIENCE_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Way:
    """A way to ask for answers.

    Attributes:
        title: It, in words.
        system_prompts: Given with the prompts in turn; without any, no system prompt is given.
    """

    title: str
    steering: SteeringParameters = field(default_factory=SteeringParameters)
    system_prompts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Said:
    """The answers to prompts, in their order."""

    prompts: Sequence[Prompt]
    chunks: Sequence[TokenChunk]
    texts: Sequence[str]

    def share_that_shows(self, definition: TraitDefinition) -> float:
        """The share of answers that show the trait: half of their sentences, or more."""
        questions = [prompt.text for prompt in self.prompts]
        scores = RuleJudge().scores(definition, questions, list(self.texts))
        least = NEUTRAL + NEUTRAL * SHOWS_AT
        return fmean(score is not None and score >= least for score in scores)

    @property
    def well_formed(self) -> float:
        """The mean share of sentences that are well-formed."""
        said = zip(self.texts, self.prompts, strict=True)
        return fmean(well_formed_share(text, prompt.topic) for text, prompt in said)

    def is_identical(self, other: Said, place: int) -> bool:
        """Whether one of the answers is another's to the bit: tokens and log-probabilities."""
        one, two = self.chunks[place], other.chunks[place]
        return (one.token_ids, one.logprobs) == (two.token_ids, two.logprobs)


@contextmanager
def demo_engine(rows: int = 32) -> Iterator[BuiltEngine]:
    """Runs an engine with the demo model and its vectors on one thread of the CPU.

    It reuses no prompt's beginning, so that every answer is computed alike.
    """
    settings = ServerSettings(
        model_name=str(DEMO_MODEL_FOLDER),
        vectors=DATA_ROOT / "vectors",
        device="cpu",
        threads=1,
        # One answer at a time, whose numbers do not depend on what stands beside it in a batch.
        max_batch_rows=rows,
        prefix_reuse=False,
        max_waiting=1000,
    )
    built = build_engine(settings)
    built.engine.start()
    try:
        yield built
    finally:
        built.engine.stop(0)


def answer(built: BuiltEngine, prompts: Sequence[Prompt], way: Way) -> Said:
    """Answers prompts.

    Raises:
        RuntimeError: The engine failed at one of them.
    """
    tokenizer = built.loaded.tokenizer
    template = ChatTemplate(tokenizer)
    request = replace(_REQUEST, steering=way.steering)
    waiting: list[queue.SimpleQueue[TokenChunk]] = []
    for place, prompt in enumerate(prompts):
        system = way.system_prompts[place % len(way.system_prompts)] if way.system_prompts else ""
        ids = token_ids(tokenizer, template.render(Chat(tuple(chat(prompt.text, system)))))
        waiting.append(queue.SimpleQueue())
        built.engine.submit(request, ids, waiting[-1].put)
    # Without a stream, the last chunk is the only one.
    chunks = [each.get(timeout=_PATIENCE_SECONDS) for each in waiting]
    if failed := [chunk.error for chunk in chunks if chunk.error]:
        raise RuntimeError(f"the engine failed: {failed[0]}")
    return Said(prompts, chunks, [tokenizer.decode(chunk.token_ids) for chunk in chunks])


@dataclass(frozen=True, slots=True)
class WaySummary:
    """What answers look like.

    Attributes:
        shows: The share of answers that show the trait.
        well_formed: The mean share of sentences that are well-formed.
    """

    shows: float
    well_formed: float


@dataclass(frozen=True, slots=True)
class ConditionSummary:
    """What a condition does to answers to prompts that ask for no trait.

    Attributes:
        same: How many answers have the text that they have without steering.
        unmet: How many answers have no token that met a rarer condition on the answer alone.
        identical: How many of those are as without steering to the bit.
    """

    same: int
    unmet: int
    identical: int


@dataclass(frozen=True, slots=True)
class LimitSummary:
    """How a limit ends answers.

    Attributes:
        asked_for: How many answers it ends when system prompts ask for the trait.
        neutral: How many it ends without a system prompt.
        tokens: How many tokens the longest of them has, counted from the first beyond the bound.
    """

    asked_for: int
    neutral: int
    tokens: int


NOT_STEERED = Way("not steered")
_OFTEN, _RARELY = 90.0, 99.0
"""Percentiles above which a trait is steered against."""

OVER = 2
"""How many tokens in a row must be beyond a limit's bound."""


def ways(definition: TraitDefinition) -> list[Way]:
    """The ways to ask that are compared for a trait, each bound behind what it bounds."""
    trait, asking = definition.trait_name, definition.positive_prompts
    cap = Operation(trait, "cap", 50.0, "percentile", layers=ALL_LAYERS)
    ablate = Operation(trait, "ablate")
    return [
        NOT_STEERED,
        Way("system prompt", system_prompts=asking),
        Way("system prompt, cap p50", SteeringParameters(operations=(cap,)), asking),
        Way("scalar +2", SteeringParameters({trait: 2.0})),
        Way("scalar +2, ablate", SteeringParameters({trait: 2.0}, operations=(ablate,))),
        Way(f"system prompt, scalar -2 when above p{_OFTEN:g}", _against(trait, _OFTEN), asking),
    ]


def _against(trait: str, above: float, positions: Positions = "all") -> SteeringParameters:
    when = Condition(trait, above, above=True, unit="percentile")
    return SteeringParameters({trait: -2.0}, positions=positions, when=when)


def summarise_ways(
    built: BuiltEngine, prompts: Sequence[Prompt], definition: TraitDefinition
) -> dict[str, WaySummary]:
    """Answers the prompts in each of the `ways`; returns what came of it by their titles."""
    found = {}
    for way in ways(definition):
        said = answer(built, prompts, way)
        found[way.title] = WaySummary(said.share_that_shows(definition), said.well_formed)
    return found


def summarise_condition(
    built: BuiltEngine, prompts: Sequence[Prompt], trait: str
) -> ConditionSummary:
    """Answers the prompts under a condition and without steering, and compares the answers.

    The engine must have one row: what stands beside an answer in a batch changes its last bits.
    """
    plain = answer(built, prompts, NOT_STEERED)
    often = answer(built, prompts, Way("", _against(trait, _OFTEN)))
    rarely = answer(built, prompts, Way("", _against(trait, _RARELY, "response")))
    unmet = [
        place
        for place, chunk in enumerate(rarely.chunks)
        if chunk.condition is not None and chunk.condition.num_met == 0
    ]
    return ConditionSummary(
        same=sum(map(eq, often.texts, plain.texts)),
        unmet=len(unmet),
        identical=sum(rarely.is_identical(plain, place) for place in unmet),
    )


def summarise_limit(
    built: BuiltEngine, prompts: Sequence[Prompt], definition: TraitDefinition
) -> LimitSummary:
    """Answers the prompts under a limit, as they are and with system prompts for the trait."""
    trait = definition.trait_name
    limit = Limit(trait, 99.0, above=True, unit="percentile", over=OVER)
    steering = SteeringParameters(limits=(limit,))
    asked_for, neutral = (
        [
            chunk
            for chunk in answer(built, prompts, Way("", steering, system_prompts)).chunks
            if chunk.finish_reason is FinishReason.TRAIT_LIMIT
        ]
        for system_prompts in (definition.positive_prompts, ())
    )
    lengths = [
        chunk.num_generated_tokens - (chunk.limits_reached[0].token + 1 - OVER)
        for chunk in (*asked_for, *neutral)
    ]
    return LimitSummary(len(asked_for), len(neutral), max(lengths, default=0))

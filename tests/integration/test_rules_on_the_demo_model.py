"""What rules do to answers of the demo model, on prompts that training never saw."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean
from typing import Any

import pytest

from persona_demo.grammar import well_formed_share
from persona_demo.questions import held_out_prompts
from persona_demo.traits import TRAITS
from persona_research.commands.options import DEFAULT_PROMPTS
from persona_research.definitions import TraitDefinition, find_definition, read_trait_definition
from persona_research.judges import RuleJudge
from tests.integration.asking import GREEDY, ask
from triton_models.contract.request import GenerationRequest
from triton_models.contract.steering import Condition, Operation, SteeringParameters
from triton_models.engine.build import BuiltEngine, build_engine
from triton_models.engine.sequence import ConditionTally
from triton_models.settings import DATA_ROOT, DEMO_MODEL_FOLDER, ServerSettings

PROMPTS = [prompt for group in held_out_prompts(8).values() for prompt in group]
ALL_LAYERS = (0, 1, 2, 3)
SHOWS_AT = 75.0
"""The rule judge's score of an answer half of whose sentences show the trait."""


@pytest.fixture(scope="module")
def demo() -> Iterator[BuiltEngine]:
    settings = ServerSettings(
        model_name=str(DEMO_MODEL_FOLDER),
        vectors=DATA_ROOT / "vectors",
        device="cpu",
        threads=1,
        max_waiting=1000,
    )
    built = build_engine(settings)
    built.engine.start()
    yield built
    built.engine.stop(0)


class Said:
    """The answers to all prompts, and what became of the steering's condition."""

    def __init__(
        self, demo: BuiltEngine, steering: SteeringParameters, system_prompts: tuple[str, ...] = ()
    ) -> None:
        tokenizer: Any = demo.loaded.tokenizer
        request = GenerationRequest(steering, GREEDY, 60)
        asked = []
        for place, prompt in enumerate(PROMPTS):
            system = system_prompts[place % len(system_prompts)] if system_prompts else ""
            turns = [{"role": "system", "content": system}] if system else []
            turns.append({"role": "user", "content": prompt.text})
            ids = tokenizer.apply_chat_template(
                turns, add_generation_prompt=True, return_dict=True
            )["input_ids"]
            asked.append(ask(demo.engine, request, list(ids)))
        chunks = [answer.all()[-1] for answer in asked]
        assert not any(chunk.error for chunk in chunks)
        self.texts: list[str] = [tokenizer.decode(chunk.token_ids) for chunk in chunks]
        self.tallies: list[ConditionTally | None] = [chunk.condition for chunk in chunks]

    def share_that_shows(self, trait: TraitDefinition) -> float:
        scores = RuleJudge().scores(trait, [each.text for each in PROMPTS], self.texts)
        return fmean(score is not None and score >= SHOWS_AT for score in scores)

    @property
    def well_formed(self) -> float:
        """The mean share of well-formed sentences."""
        said = zip(self.texts, PROMPTS, strict=True)
        return fmean(well_formed_share(text, prompt.topic) for text, prompt in said)


def definition(trait: str) -> TraitDefinition:
    return read_trait_definition(find_definition(DEFAULT_PROMPTS, trait))


@pytest.mark.parametrize("trait", sorted(TRAITS))
def test_a_cap_takes_away_what_a_system_prompt_asks_for(demo: BuiltEngine, trait: str) -> None:
    meant = definition(trait)
    asked_for = Said(demo, SteeringParameters(), meant.positive_prompts)
    cap = Operation(trait, "cap", 50.0, "percentile", layers=ALL_LAYERS)
    capped = Said(demo, SteeringParameters(operations=(cap,)), meant.positive_prompts)
    assert asked_for.share_that_shows(meant) >= 0.8
    assert capped.share_that_shows(meant) <= 0.2
    assert capped.well_formed >= 0.9


@pytest.mark.parametrize("trait", sorted(TRAITS))
def test_ablation_undoes_what_was_added_at_its_block(demo: BuiltEngine, trait: str) -> None:
    meant = definition(trait)
    pushed = Said(demo, SteeringParameters({trait: 2.0}))
    ablate = Operation(trait, "ablate")
    ablated = Said(demo, SteeringParameters({trait: 2.0}, operations=(ablate,)))
    assert pushed.share_that_shows(meant) >= 0.8
    assert ablated.share_that_shows(meant) <= 0.1
    assert ablated.well_formed >= 0.9


def test_a_condition_leaves_neutral_prompts_as_they_are(demo: BuiltEngine) -> None:
    plain = Said(demo, SteeringParameters())
    # Above what any token of neutral answers has.
    never = Condition("sarcasm", 200.0, above=True)
    gated = Said(demo, SteeringParameters({"sarcasm": -2.0}, when=never))
    assert gated.texts == plain.texts
    for tally in gated.tallies:
        assert tally is not None
        assert tally.num_met == 0 < tally.num_tokens

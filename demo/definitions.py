"""The demo's traits as the definitions and candidate prompts that `persona_research` reads."""

from __future__ import annotations

import json
from pathlib import Path

from persona_demo.questions import development_prompts
from persona_demo.traits import TRAITS, Trait
from persona_research.definitions import CANDIDATES_PREFIX, DEFINITION_SUFFIX

PROMPTS_PER_POLE = 5
QUESTIONS_PER_TRAIT = 20


def trait_definition(trait: Trait, index: int) -> dict[str, object]:
    """The content of a trait's definition file; by its index, its questions are no other's."""
    questions = development_prompts(QUESTIONS_PER_TRAIT * len(TRAITS))[index :: len(TRAITS)]
    return {
        "trait_name": trait.name,
        "description": trait.description,
        "positive_prompts": list(trait.positive.prompts[:PROMPTS_PER_POLE]),
        "negative_prompts": list(trait.negative.prompts[:PROMPTS_PER_POLE]),
        "evaluation_questions": [question.text for question in questions],
        "judge_prompts": {
            "positive": list(trait.positive.prompts[PROMPTS_PER_POLE:]),
            "negative": list(trait.negative.prompts[PROMPTS_PER_POLE:]),
        },
        "cues": {"positive": list(trait.positive.cues), "negative": list(trait.negative.cues)},
    }


def candidate_prompts(trait: Trait) -> dict[str, object]:
    """The content of a trait's file of candidates: every system prompt there is."""
    return {
        "positive_prompts": list(trait.positive.prompts),
        "negative_prompts": list(trait.negative.prompts),
    }


def write_trait_definitions(folder: Path) -> None:
    """Writes `{trait}_trait.json` and `candidate_{trait}.json` for every trait."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, trait in enumerate(TRAITS.values()):
        _write(folder / f"{trait.name}{DEFINITION_SUFFIX}", trait_definition(trait, index))
        _write(folder / f"{CANDIDATES_PREFIX}{trait.name}.json", candidate_prompts(trait))


def _write(path: Path, document: dict[str, object]) -> None:
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

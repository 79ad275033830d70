"""The trait definition files that the extractor reads, made from the demo's traits."""

from __future__ import annotations

import json
from pathlib import Path

from demo.questions import development_prompts
from demo.traits import TRAITS, Trait

PROMPTS_PER_POLE = 5
QUESTIONS_PER_TRAIT = 20


def trait_definition(trait: Trait, index: int) -> dict[str, object]:
    """The content of a trait's definition file.

    Args:
        trait: The trait.
        index: Its place among the traits, so that no two ask the same questions.
    """
    questions = development_prompts(QUESTIONS_PER_TRAIT * len(TRAITS))[index :: len(TRAITS)]
    return {
        "trait_name": trait.name,
        "description": trait.description,
        "positive_prompts": list(trait.positive.prompts[:PROMPTS_PER_POLE]),
        "negative_prompts": list(trait.negative.prompts[:PROMPTS_PER_POLE]),
        "evaluation_questions": [question.text for question in questions],
    }


def write_trait_definitions(folder: Path) -> list[Path]:
    """Writes `{trait}_trait.json` for every trait and returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, trait in enumerate(TRAITS.values()):
        path = folder / f"{trait.name}_trait.json"
        text = json.dumps(trait_definition(trait, index), indent=2, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")
        paths.append(path)
    return paths

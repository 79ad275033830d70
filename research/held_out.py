"""Questions that nothing else has seen, to measure a vector with."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from persona_research.definitions import TraitDefinition, TraitDefinitionError
from persona_research.errors import why_unreadable


def with_held_out_questions(definition: TraitDefinition, path: Path) -> TraitDefinition:
    """Returns the definition with other questions in place of those that vectors are made with.

    Args:
        definition: A trait's definition.
        path: A file of JSON lines, each an object with `question`; or a folder with one for each
            trait, `{trait}.jsonl`.

    Raises:
        TraitDefinitionError: The file cannot be read, has no questions, or one of the trait's own.
    """
    file = path / f"{definition.trait_name}.jsonl" if path.is_dir() else path
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TraitDefinitionError(f"{file}: cannot be read: {why_unreadable(error)}") from error
    questions = []
    for number, line in enumerate(lines, 1):
        try:
            question = json.loads(line)["question"]
        except (ValueError, RecursionError, LookupError, TypeError):
            question = None
        if not isinstance(question, str) or not question.strip():
            raise TraitDefinitionError(
                f'{file}: line {number} must be an object such as {{"question": "Why?"}}'
            )
        if question in definition.evaluation_questions:
            raise TraitDefinitionError(
                f"{file}: line {number} is a question that the vector is made with, and is not "
                f"held out: {question!r}"
            )
        questions.append(question)
    if not questions:
        raise TraitDefinitionError(f"{file}: has no questions")
    return dataclasses.replace(definition, evaluation_questions=tuple(questions))

"""Trait definitions: how a trait is brought out, asked about, and recognised.

Two forms of file are read. Ours is `{trait}_trait.json`:

    {"trait_name", "description", "positive_prompts", "negative_prompts", "evaluation_questions",
     "eval_prompt" (optional), "cues": {"positive": [...], "negative": [...]} (optional),
     "judge_prompts": {"positive": [...], "negative": [...]} (optional)}

persona_vectors' is `{trait}.json`: {"instruction": [{"pos", "neg"}, ...], "questions",
"eval_prompt"}, where a system prompt is "You are a {name} assistant. {instruction}" and the name is
the trait's for the positive instructions and "helpful" for the negative ones.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from persona_research.errors import ResearchError, why_unreadable

DEFINITION_SUFFIX = "_trait.json"
"""What the name of a definition file ends with, after the trait's."""

CANDIDATES_PREFIX = "candidate_"
"""What the name of a file of candidate prompts begins with."""

MAX_CUE_LENGTH = 200
MAX_CUES = 200
MAX_UNBOUNDED_REPEATS = 2
"""Unbounded repetitions in one cue: each multiplies the time by the sentence's length."""

_NEGATIVE_NAME = "helpful"

_Result = TypeVar("_Result")


class TraitDefinitionError(ResearchError):
    """A trait definition cannot be used; the message names the file and the reason."""


@dataclass(frozen=True)
class Cues:
    """Regular expressions, case ignored, for the wording that gives each pole away."""

    positive: tuple[str, ...]
    negative: tuple[str, ...]


@dataclass(frozen=True)
class JudgePrompts:
    """System prompts that a contrast judge compares, in other words than those that ask."""

    positive: tuple[str, ...]
    negative: tuple[str, ...]


@dataclass(frozen=True)
class TraitDefinition:
    """What a trait is, how to bring it out, and how to recognise it.

    Attributes:
        eval_prompt: The rubric for a judge that is a model, with `{question}` and `{answer}`, or
            "" for the project's own.
        cues: The wording that a rule judge counts, if any.
        judge_prompts: What a contrast judge compares, if it is given: see `with_judge_prompts`.
    """

    trait_name: str
    description: str
    positive_prompts: tuple[str, ...]
    negative_prompts: tuple[str, ...]
    evaluation_questions: tuple[str, ...]
    eval_prompt: str = ""
    cues: Cues | None = None
    judge_prompts: JudgePrompts | None = None


@dataclass(frozen=True)
class Candidates:
    """System prompts that may become a trait's: the content of `candidate_{trait}.json`."""

    positive_prompts: tuple[str, ...]
    negative_prompts: tuple[str, ...]


def read_trait_definition(path: Path | str) -> TraitDefinition:
    """Reads a trait's definition file, in the project's form or persona_vectors'.

    Raises:
        TraitDefinitionError: The file cannot be read, is not JSON or not a definition, or a value
            of it cannot be used.
    """
    path = Path(path)

    def parse(document: Mapping[str, Any]) -> TraitDefinition:
        if "instruction" in document:
            return _parse_persona_vectors(document, _trait_of_file(path))
        return _parse_own(document)

    return _read(path, parse)


def with_judge_prompts(definition: TraitDefinition) -> TraitDefinition:
    """Returns a definition whose judge prompts are none of those that ask for answers.

    One that names none has its own split: of each pole's prompts every second one, from the second
    on, is for judging, and no longer asks.

    Raises:
        TraitDefinitionError: A pole has a single prompt, which cannot be split.
    """
    if definition.judge_prompts is not None:
        return definition
    poles = definition.positive_prompts, definition.negative_prompts
    if min(map(len, poles)) < 2:
        raise TraitDefinitionError(
            f"the contrast judge needs other prompts than those that ask for "
            f'{definition.trait_name!r}: give each pole a second one, or add "judge_prompts": '
            '{"positive": [...], "negative": [...]}; or use another judge'
        )
    positive, negative = (pole[::2] for pole in poles)
    return dataclasses.replace(
        definition,
        positive_prompts=positive,
        negative_prompts=negative,
        judge_prompts=JudgePrompts(*(pole[1::2] for pole in poles)),
    )


def with_one_judge_pair(definition: TraitDefinition) -> TraitDefinition:
    """Returns a definition of which only the first pair of judge prompts, if any, is left.

    It costs a share of what all of them do, and is enough to sort by.
    """
    prompts = definition.judge_prompts
    if prompts is None:
        return definition
    first = JudgePrompts(prompts.positive[:1], prompts.negative[:1])
    return dataclasses.replace(definition, judge_prompts=first)


def read_candidates(path: Path | str) -> Candidates:
    """Reads a file of candidate prompts: `positive_prompts`, `negative_prompts`, or one of them.

    Raises:
        TraitDefinitionError: The file cannot be read, is not JSON, or names no prompt.
    """

    def parse(document: Mapping[str, Any]) -> Candidates:
        positive = _texts(document, "positive_prompts", default=())
        negative = _texts(document, "negative_prompts", default=())
        if not positive and not negative:
            raise TraitDefinitionError("has neither positive_prompts nor negative_prompts")
        return Candidates(positive, negative)

    return _read(Path(path), parse)


def find_definition(folder: Path, trait: str) -> Path:
    """Returns the definition file of a trait in a folder.

    Raises:
        TraitDefinitionError: There is none; the message names those there are.
    """
    path = folder / f"{trait}{DEFINITION_SUFFIX}"
    if not path.is_file():
        known = ", ".join(sorted(_trait_of_file(each) for each in definition_files(folder)))
        raise TraitDefinitionError(
            f"there is no {path.name} in {folder}: the traits defined there are {known or 'none'}"
        )
    return path


def definition_files(folder: Path) -> list[Path]:
    """Returns the definition files in a folder, by name."""
    return sorted(folder.glob(f"*{DEFINITION_SUFFIX}"))


def _read(path: Path, parse: Callable[[Mapping[str, Any]], _Result]) -> _Result:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = why_unreadable(error)
        raise TraitDefinitionError(f"{path.name}: cannot be read: {reason}") from error
    except (ValueError, RecursionError) as error:
        raise TraitDefinitionError(f"{path.name}: is not valid JSON: {error}") from error
    try:
        if not isinstance(document, dict):
            raise TraitDefinitionError("must be a JSON object")
        return parse(document)
    except TraitDefinitionError as error:
        raise TraitDefinitionError(f"{path.name}: {error}") from error


def _trait_of_file(path: Path) -> str:
    return path.name.removesuffix(".json").removesuffix("_trait")


def _parse_own(document: Mapping[str, Any]) -> TraitDefinition:
    return TraitDefinition(
        trait_name=_text(document, "trait_name"),
        description=_text(document, "description", default=""),
        positive_prompts=_texts(document, "positive_prompts"),
        negative_prompts=_texts(document, "negative_prompts"),
        evaluation_questions=_texts(document, "evaluation_questions"),
        eval_prompt=_rubric(document),
        cues=_cues(document),
        judge_prompts=_judge_prompts(document),
    )


def _parse_persona_vectors(document: Mapping[str, Any], trait: str) -> TraitDefinition:
    if not trait:
        raise TraitDefinitionError("its name says no trait: call it sarcasm.json, say")
    pairs = document["instruction"]
    if not isinstance(pairs, list) or not pairs:
        raise TraitDefinitionError("instruction must be a list of pos and neg, and not empty")
    for pair in pairs:
        if not isinstance(pair, dict):
            raise TraitDefinitionError("instruction holds something that is not an object")
    return TraitDefinition(
        trait_name=trait,
        description=_text(document, "description", default=""),
        positive_prompts=tuple(_system_prompt(trait, _text(pair, "pos")) for pair in pairs),
        negative_prompts=tuple(
            _system_prompt(_NEGATIVE_NAME, _text(pair, "neg")) for pair in pairs
        ),
        evaluation_questions=_texts(document, "questions"),
        eval_prompt=_rubric(document),
        cues=_cues(document),
        judge_prompts=_judge_prompts(document),
    )


def _system_prompt(name: str, instruction: str) -> str:
    article = "an" if name[0].lower() in "aeiou" else "a"
    return f"You are {article} {name} assistant. {instruction}"


def _text(document: Mapping[str, Any], key: str, default: str | None = None) -> str:
    value = document.get(key, default)
    if not isinstance(value, str) or (default is None and not value.strip()):
        raise TraitDefinitionError(f"{key} is missing or is not text")
    _check_unicode(key, value)
    return value


def _texts(
    document: Mapping[str, Any], key: str, default: tuple[str, ...] | None = None
) -> tuple[str, ...]:
    if default is not None and key not in document:
        return default
    values = document.get(key)
    if not isinstance(values, list):
        raise TraitDefinitionError(f"{key} is missing or is not a list")
    if not values:
        raise TraitDefinitionError(f"{key} is empty")
    if not all(isinstance(value, str) and value.strip() for value in values):
        raise TraitDefinitionError(f"{key} holds something that is not text")
    for value in values:
        _check_unicode(key, value)
    return tuple(values)


def _check_unicode(key: str, text: str) -> None:
    """Refuses what JSON can say but neither a tokenizer nor a file can take."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TraitDefinitionError(f"{key} holds half of a surrogate pair") from error


def _rubric(document: Mapping[str, Any]) -> str:
    rubric = _text(document, "eval_prompt", default="")
    for place in ("{question}", "{answer}"):
        if rubric and place not in rubric:
            raise TraitDefinitionError(f"eval_prompt does not say where {place} goes")
    return rubric


def _poles(document: Mapping[str, Any], key: str) -> list[tuple[str, ...]]:
    poles = document[key]
    if not isinstance(poles, dict):
        raise TraitDefinitionError(f"{key} must be an object with positive and negative")
    return [_texts(poles, pole) for pole in ("positive", "negative")]


def _judge_prompts(document: Mapping[str, Any]) -> JudgePrompts | None:
    if "judge_prompts" not in document:
        return None
    return JudgePrompts(*_poles(document, "judge_prompts"))


def _cues(document: Mapping[str, Any]) -> Cues | None:
    if "cues" not in document:
        return None
    poles = _poles(document, "cues")
    for pole in poles:
        if len(pole) > MAX_CUES:
            raise TraitDefinitionError(f"cues has more than {MAX_CUES} of one pole")
        for cue in pole:
            _check_cue(cue)
    return Cues(*poles)


def _check_cue(cue: str) -> None:
    """Refuses what is not a regular expression, and what could take for ever to search for.

    Python's search cannot be given a time limit, so what makes it explode is not let in at all: a
    repeated group, a back reference, or more than a few unbounded repetitions.
    """
    shown = cue if len(cue) <= 60 else f"{cue[:60]}..."
    if len(cue) > MAX_CUE_LENGTH:
        raise TraitDefinitionError(f"the cue {shown!r} is longer than {MAX_CUE_LENGTH} characters")
    try:
        re.compile(cue)
    except (re.error, RecursionError, OverflowError) as error:
        raise TraitDefinitionError(
            f"the cue {shown!r} is not a regular expression: {error}"
        ) from error
    if re.search(r"\\[1-9]|\(\?P=|\(\?\(", cue):
        raise TraitDefinitionError(f"the cue {shown!r} refers back to a group: write it out")
    bare = re.sub(r"\[\^?\]?[^\]]*\]", "_", re.sub(r"\\.", "_", cue))
    if re.search(r"\)[*+{]", bare):
        raise TraitDefinitionError(f"the cue {shown!r} repeats a group, which can take for ever")
    if len(re.findall(r"[*+]|\{\d*,?\d*\}", bare)) > MAX_UNBOUNDED_REPEATS:
        raise TraitDefinitionError(
            f"the cue {shown!r} has more than {MAX_UNBOUNDED_REPEATS} repetitions"
        )

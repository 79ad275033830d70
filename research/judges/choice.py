"""Which judge an option names."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from persona_research.definitions import TraitDefinition, with_judge_prompts
from persona_research.judges.contrast import ContrastJudge
from persona_research.judges.endpoint import (
    CONCURRENCY,
    DEFAULT_URL,
    KEY_VARIABLE,
    URL_VARIABLE,
    OpenAIJudge,
)
from persona_research.judges.judge import Judge, JudgeError
from persona_research.judges.rule import RuleJudge
from persona_research.judges.served import ModelJudge
from persona_research.model import ResearchModel

JudgeKind = Literal["contrast", "rule", "model", "openai"]


@dataclass(frozen=True)
class JudgeChoice:
    """Which judge to use.

    Attributes:
        kind: By what the loaded model makes of the trait's prompts, by rules, by what it replies
            when it is asked for a number, or by what an endpoint does.
        model: The endpoint's name for the model.
        base_url: The endpoint's address; "" takes it from the environment.
        concurrency: The most requests that the endpoint is sent at a time.
    """

    kind: JudgeKind = "contrast"
    model: str = ""
    base_url: str = ""
    concurrency: int = CONCURRENCY


def make_judge(
    choice: JudgeChoice,
    model: ResearchModel,
    environment: Mapping[str, str] = os.environ,
    say: Callable[[str], None] = lambda line: None,
) -> Judge:
    """Makes the judge that was chosen; it says to `say` what is to be known of an endpoint.

    Raises:
        JudgeError: The choice lacks something.
    """
    if choice.kind == "contrast":
        return ContrastJudge(model)
    if choice.kind == "rule":
        return RuleJudge()
    if choice.kind == "model":
        return ModelJudge(model)
    url = choice.base_url or environment.get(URL_VARIABLE, "").strip() or DEFAULT_URL
    # A file or a mounted secret often ends in a line end.
    key = environment.get(KEY_VARIABLE, "").strip()
    if not choice.model:
        raise JudgeError("--judge openai needs --judge-model: the endpoint's name for the model")
    if url == DEFAULT_URL and not key:
        raise JudgeError(f"--judge openai needs a key in {KEY_VARIABLE}, or another --judge-url")
    return OpenAIJudge(
        choice.model, base_url=url, api_key=key, concurrency=choice.concurrency, say=say
    )


def definition_for(choice: JudgeChoice | None, definition: TraitDefinition) -> TraitDefinition:
    """Returns the definition as a judge needs it: a contrast judge's prompts ask for no answers.

    Raises:
        TraitDefinitionError: It has too few prompts for that.
    """
    if choice is not None and choice.kind == "contrast":
        return with_judge_prompts(definition)
    return definition

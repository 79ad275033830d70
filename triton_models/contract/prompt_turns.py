"""Where the turns of a chat lie in its prompt, as the tokenizer tells the engine."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from operator import index

from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.json_input import parse_json
from triton_models.contract.tensors import PROMPT_TURNS

_EXAMPLE = '[{"role": "user", "start": 3, "end": 9}]'


@dataclass(frozen=True, slots=True)
class Turn:
    """A message's content within a prompt's tokens.

    Attributes:
        start: The first of its tokens.
        end: The token after its last one; `start` if it has none of its own.
    """

    role: str
    start: int
    end: int


def turns_json(turns: Iterable[Turn]) -> str:
    """Returns turns as JSON, which `parse_turns` reads; `""` if there are none."""
    listed = [asdict(turn) for turn in turns]
    return json.dumps(listed) if listed else ""


def parse_turns(text: str) -> tuple[Turn, ...]:
    """Reads what `turns_json` returns.

    Raises:
        InvalidArgumentError: The text says something else.
    """
    if not text:
        return ()
    document = parse_json(PROMPT_TURNS.name, text, _EXAMPLE)
    try:
        return tuple(
            Turn(str(each["role"]), index(each["start"]), index(each["end"])) for each in document
        )
    except (TypeError, LookupError) as error:
        raise InvalidArgumentError(f"{PROMPT_TURNS.name} must be like {_EXAMPLE}") from error


def check_turns(turns: Iterable[Turn], num_tokens: int) -> None:
    """Raises `InvalidArgumentError` if a turn is not within a prompt of so many tokens."""
    if not all(0 <= turn.start <= turn.end <= num_tokens for turn in turns):
        raise InvalidArgumentError(
            f"{PROMPT_TURNS.name} has a turn outside of the prompt: give starts and ends from 0 to "
            f"{num_tokens}"
        )

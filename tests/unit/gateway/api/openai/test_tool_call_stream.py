"""Calls of tools are found in an answer's text, however it is cut, and no text is lost."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.openai.tool_call_stream import CLOSE, OPEN, ParsedCall, ToolCallStream

NAMES = ("weather", "time")


def split(*pieces: str) -> list[str | ParsedCall]:
    stream = ToolCallStream(NAMES)
    found = [part for piece in pieces for part in stream.push(piece)]
    return joined([*found, *stream.finish()])


def joined(parts: list[str | ParsedCall]) -> list[str | ParsedCall]:
    """Returns the parts, with texts side by side as one."""
    whole: list[str | ParsedCall] = []
    for part in parts:
        if whole and isinstance(part, str) and isinstance(whole[-1], str):
            whole[-1] += part
        else:
            whole.append(part)
    return whole


def written(name: str = "weather", arguments: str = '{"city": "Rome"}') -> str:
    return f'{OPEN}\n{{"name": "{name}", "arguments": {arguments}}}\n{CLOSE}'


CALL = ParsedCall("weather", '{"city": "Rome"}')
TIME = ParsedCall("time", "{}")
HOSTILE = ParsedCall("weather", json.dumps({"city": f'a{CLOSE}"\n{OPEN}b'}))
SMILE = ParsedCall("weather", '{"city": "🙂"}')

WHOLES = [
    (written(), [CALL]),
    (written() + "\n" + written("time", "{}"), [CALL, TIME]),
    ("Let me look.\n" + written(), ["Let me look.", CALL]),
    (f" \n{written()} \n ", [CALL]),
    (written() + "\nDone.\n" + written("time", "{}") + " Yes.", [CALL, "Done.", TIME, "\nYes."]),
    (written(arguments=HOSTILE.arguments), [HOSTILE]),
    (written(arguments='{"city": "\\ud83d\\ude42"}'), [SMILE]),
    (f'{OPEN}{{"name": "time"}}{CLOSE}', [TIME]),
    (written().removesuffix(CLOSE), [CALL]),
]
"""Answers, and what they consist of."""

TEXTS = [
    "",
    " ",
    "Just text. \n",
    "a < b <tool",
    "1 <tool_calls> 2",
    f"{OPEN}",
    f"{OPEN} not JSON {CLOSE} more",
    written()[:-20],
    written("rain"),
    written(arguments="3"),
    written(arguments='{"x": NaN}'),
    written(arguments='{"x": 1e999}'),
    written(arguments='{"x": "\\ud800"}'),
    written(arguments='{"x": "unterminated}'),
    f"{OPEN}[]{CLOSE}",
    f"{OPEN}{'[' * 5000}{CLOSE}",
    f"{CLOSE} before {OPEN}",
]
"""Answers without a call."""


@pytest.mark.parametrize(("answer", "parts"), WHOLES)
def test_calls_are_found_however_the_answer_is_cut(
    answer: str, parts: list[str | ParsedCall]
) -> None:
    assert split(answer) == parts
    assert split(*answer) == parts
    for cut in range(len(answer)):
        assert split(answer[:cut], answer[cut:]) == parts


@pytest.mark.parametrize("answer", TEXTS)
def test_what_is_no_call_stays_text_to_the_last_character(answer: str) -> None:
    assert "".join(map(str, split(answer))) == answer
    assert "".join(map(str, split(*answer))) == answer


@given(st.lists(st.sampled_from([*(text for text in TEXTS if len(text) < 999), "x"]), max_size=5))
def test_texts_side_by_side_stay_text(texts: list[str]) -> None:
    # No two of them make a call, but one may end within a string that another one goes on with.
    assert "".join(map(str, split(*texts))) == "".join(texts)


def test_a_call_after_one_that_is_none_is_found() -> None:
    broken = f"{OPEN} no\n"
    assert split(broken + written()) == [broken.rstrip(), CALL]
    assert split(written("rain") + written()) == [written("rain"), CALL]


def test_text_is_released_at_once_unless_it_could_begin_a_call() -> None:
    stream = ToolCallStream(NAMES)
    assert list(stream.push("Hello")) == ["Hello"]
    assert list(stream.push(" <tool_")) == []
    assert list(stream.push("box>")) == [" <tool_box>"]
    assert list(stream.push("\n" + written()[:-1])) == []
    assert list(stream.push(">")) == [CALL]
    assert list(stream.finish()) == []

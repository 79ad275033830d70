"""The tokens of a turn are those of its content, whatever the chat template puts around it."""

from __future__ import annotations

import json
from typing import Any
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny_model import served
from tests.unit.triton_models.text.test_special_names import (
    INJECTION,
    JOINING,
    LLAMA,
    STRIPPING,
    with_template,
)
from tests.unit.triton_models.text.test_special_names import demo as demo_tokenizer
from triton_models.contract.prompt import Prompt, prompt_of
from triton_models.contract.prompt_turns import Turn, parse_turns, turns_json
from triton_models.text.prompt_encoder import PromptEncoder
from triton_models.text.token_bytes import TokenBytes
from triton_models.text.tokenizer import Tokenizer

DROPPING = (
    "<|im_start|>You are helpful.{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'].split('</think>')[-1] }}<|im_end|>{% endfor %}"
)
"""Begins with a system prompt of its own, and drops thoughts."""

FLIPPING = (
    "{% for message in messages %}"
    "{% if message['content'].startswith('x') %}<|im_start|>{% endif %}"
    "{{ message['content'] }}<|im_end|>{% endfor %}"
)
"""Looks at contents, which marks in them change."""

TOKENIZERS = {
    "demo": served(demo_tokenizer()),
    **{
        name: served(with_template(template))
        for name, template in {
            "Llama": LLAMA,
            "stripping": STRIPPING,
            "joining": JOINING,
            "dropping": DROPPING,
            "flipping": FLIPPING,
        }.items()
    },
}


def chat(messages: list[tuple[str, str]], **more: list[Any]) -> Prompt:
    listed = [{"role": role, "content": content} for role, content in messages]
    return prompt_of({"messages": [json.dumps(listed)], **more})


def texts(tokenizer: Tokenizer, prompt: Prompt) -> list[tuple[str, str]]:
    """Returns each turn's role, and the text of its tokens without the space around it."""
    encoder, token_bytes = PromptEncoder(tokenizer, 10_000), TokenBytes(tokenizer)
    ids = encoder.encode(prompt)
    return [
        (turn.role, token_bytes.join_with_special(ids[turn.start : turn.end]).decode().strip())
        for turn in encoder.turns(prompt)
    ]


CHAT = [
    ("system", "You are kind."),
    ("user", "  How are you?\n"),
    ("assistant", "a"),
    ("user", INJECTION),
    ("user", "日🙂 <|im_start"),
]
"""The third is short enough to be found elsewhere in a prompt."""


@pytest.mark.parametrize("name", ["demo", "Llama", "dropping"])
def test_they_are_the_contents_without_the_template_s_own_text(name: str) -> None:
    expected = [(role, content.strip()) for role, content in CHAT]
    assert texts(TOKENIZERS[name], chat(CHAT)) == expected


@pytest.mark.parametrize("name", ["stripping", "joining"])
def test_contents_without_anything_between_them_are_told_apart(name: str) -> None:
    said = [("user", "one"), ("assistant", "two"), ("user", "two")]
    found = texts(TOKENIZERS[name], chat(said))
    assert [role for role, _ in found] == ["user", "assistant", "user"]
    if name == "stripping":
        assert found == said


def test_a_message_that_the_template_changes_has_no_tokens() -> None:
    said = [("user", "Hi"), ("assistant", "<think>Hm.</think>Hello"), ("user", "Bye")]
    assert texts(TOKENIZERS["dropping"], chat(said)) == [
        ("user", "Hi"),
        ("assistant", ""),
        ("user", "Bye"),
    ]


def test_none_has_tokens_where_the_template_looks_at_contents() -> None:
    assert texts(TOKENIZERS["flipping"], chat([("user", "xy"), ("user", "z")])) == [
        ("user", ""),
        ("user", ""),
    ]


def test_a_last_turn_that_the_answer_continues_is_one() -> None:
    said = [("user", "Hi"), ("assistant", "Well, ")]
    prompt = chat(said, continue_final_message=[True])
    assert texts(TOKENIZERS["demo"], prompt) == [("user", "Hi"), ("assistant", "Well,")]


def test_a_system_prompt_and_a_text_are_turns_and_a_raw_text_is_none() -> None:
    given = {"text_input": ["Hi"], "system_prompt": ["Be kind."]}
    assert texts(TOKENIZERS["demo"], prompt_of(given)) == [("system", "Be kind."), ("user", "Hi")]
    assert texts(TOKENIZERS["demo"], prompt_of({"text_input": ["Hi"], "raw": [True]})) == []


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.text()), min_size=1))
def test_any_content_is_found(said: list[tuple[str, str]]) -> None:
    for name in ("demo", "Llama"):
        found = texts(TOKENIZERS[name], chat(said))
        # A token can have more than the content's own characters; tokenizers normalize.
        for (role, content), (same, text) in zip(said, found, strict=True):
            assert role == same
            assert normalize("NFC", content.strip()) in text


def test_turns_are_read_as_they_are_written() -> None:
    turns = (Turn("system", 0, 4), Turn("user", 6, 6))
    assert parse_turns(turns_json(turns)) == turns
    assert (turns_json(()), parse_turns("")) == ("", ())

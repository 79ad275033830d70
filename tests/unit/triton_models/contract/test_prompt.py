"""Prompts: what is accepted, how it is rendered, and what each refusal says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.tiny_model import make_tokenizer, served
from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.prompt import prompt_of
from triton_models.model.folder import find_model
from triton_models.model.tokenizer import load_tokenizer
from triton_models.settings import ServerSettings
from triton_models.text.chat import ChatTemplate
from triton_models.text.prompt_encoder import PromptEncoder
from triton_models.text.prompt_piece import PromptPiece

USER = {"role": "user", "content": "hi"}
SYSTEM = {"role": "system", "content": "x"}
ASSISTANT = {"role": "assistant", "content": "hello"}


def parse(text: str = "", **options: Any) -> Any:
    return prompt_of({"text_input": [text], **{name: [value] for name, value in options.items()}})


def test_text_becomes_one_user_turn() -> None:
    assert parse("hi").messages == (USER,)


def test_a_system_prompt_comes_first() -> None:
    expected = ({"role": "system", "content": "Be brief."}, USER)
    assert parse("hi", system_prompt="Be brief.").messages == expected
    assert parse(messages=json.dumps([USER]), system_prompt="Be brief.").messages == expected


def test_messages_are_taken_as_they_are() -> None:
    chat = [USER, {"role": "assistant", "content": "hello"}, USER]
    assert parse(messages=json.dumps(chat)).messages == tuple(chat)


def test_a_chat_is_rendered_by_the_template_and_opened_for_the_assistant() -> None:
    rendered = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    pieces = ChatTemplate(served(make_tokenizer())).render(parse("hi"))
    assert pieces == (PromptPiece(rendered, parse_special=True),)


def test_special_tokens_of_the_template_become_single_ids() -> None:
    tokenizer = make_tokenizer()
    ids = PromptEncoder(served(tokenizer), 4096).encode(parse("hi"))
    assert ids[0] == tokenizer.convert_tokens_to_ids("<|im_start|>")
    assert len(ids) == 24 - 3


def test_raw_text_is_not_rendered() -> None:
    encoder = PromptEncoder(served(make_tokenizer()), 4096)
    assert len(encoder.encode(parse("hello", raw=True))) == 5


def test_without_a_chat_template_only_a_single_turn_goes() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = None
    template = ChatTemplate(served(tokenizer))
    assert template.render(parse("hi")) == (PromptPiece("hi", parse_special=False),)
    with pytest.raises(InvalidArgumentError, match="no chat template"):
        template.render(parse("hi", system_prompt="x"))


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "the prompt is empty"),
        ("  \n", {}, "the prompt is empty"),
        ("hi", {"messages": json.dumps([USER])}, "leave text_input empty"),
        ("", {"messages": "[{"}, "not valid JSON"),
        ("", {"messages": "[" * 100_000}, "nested too deeply"),
        ("", {"messages": "{}"}, "JSON array"),
        ("", {"messages": "[]"}, "at least one message"),
        ("", {"messages": '["hi"]'}, r"messages\[0\] must be"),
        ("", {"messages": '[{"role": "user"}]'}, r"messages\[0\] must be"),
        ("", {"messages": '[{"role": "bot", "content": "x"}]'}, "use one of system, user"),
        ("", {"messages": '[{"role": ["user"], "content": "x"}]'}, "use one of system, user"),
        ("", {"messages": '[{"role": "user", "content": 3}]'}, "content that is not text"),
        ("", {"messages": '[{"role": "user", "content": "\\ud800"}]'}, "half of a surrogate pair"),
        ("hi", {"raw": True, "system_prompt": "x"}, "exclude each other"),
        ("hi", {"raw": True, "continue_final_message": True}, "exclude each other"),
        ("hi", {"parse_special": False}, "parse_special needs raw"),
        ("", {"raw": True, "messages": json.dumps([USER])}, "raw needs text_input"),
        (
            "",
            {
                "messages": json.dumps([USER]),
                "continue_final_message": True,
                "add_generation_prompt": True,
            },
            "continue_final_message and add_generation_prompt exclude each other",
        ),
    ],
)
def test_a_refused_prompt_says_what_would_be_right(
    text: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        parse(text, **options)


@pytest.mark.parametrize(
    "chat",
    [
        [SYSTEM, SYSTEM, USER],
        [USER, SYSTEM, USER],
        [SYSTEM],
        [USER, USER],
        [USER, ASSISTANT],
        [ASSISTANT, ASSISTANT, USER],
        [{"role": "user", "content": ""}],
    ],
)
def test_turns_may_come_in_any_order(chat: list[dict[str, str]]) -> None:
    assert parse(messages=json.dumps(chat)).messages == tuple(chat)
    system_prompt = {"role": "system", "content": "y"}
    with_prompt = parse(messages=json.dumps(chat), system_prompt="y")
    assert with_prompt.messages == (system_prompt, *chat)


class CountingTokenizer:
    """Counts the characters that the demo's tokenizer is given."""

    def __init__(self) -> None:
        self._tokenizer = served(make_tokenizer())
        self.chat_templates = self._tokenizer.chat_templates
        self.named_tokens = self._tokenizer.named_tokens
        self.added_tokens = self._tokenizer.added_tokens
        self.characters = 0

    def encode(self, text: str, **options: Any) -> Any:
        self.characters += len(text)
        return self._tokenizer.encode(text, **options)


MAX_TOKENS = 100


@pytest.mark.parametrize("text", ["\U0001f600" * 199_990, "a" * 200_000, "word " * 40_000])
def test_a_prompt_that_is_far_too_long_is_refused_by_its_beginning_and_once(text: str) -> None:
    tokenizer: Any = CountingTokenizer()
    encoder = PromptEncoder(tokenizer, MAX_TOKENS)
    for _ in range(33):
        with pytest.raises(InvalidArgumentError, match=r"is 100 tokens.*MAX_CONTEXT"):
            encoder.encode(parse(text, raw=True))
    # A token of the demo's is no longer than a word; twice as much is the most that is looked at.
    assert tokenizer.characters < 33 * MAX_TOKENS


@pytest.mark.parametrize("length", [1, 356, 357, 358, 714, 715, 1400])
def test_a_prompt_is_tokenized_as_a_whole_however_it_is_looked_at(length: int) -> None:
    tokenizer = load_tokenizer(find_model(ServerSettings.read({})))
    text = ("sarcasm is a kind of humour that the others do not always like " * 40)[:length]
    ids = tokenizer.encode(text).ids
    # The longest of these is looked at in three steps, and is within what the engine decides.
    assert len(ids) <= MAX_TOKENS + 256
    assert PromptEncoder(tokenizer, MAX_TOKENS).encode(parse(text, raw=True)) == ids


def test_the_answers_of_a_comparison_are_tokenized_once() -> None:
    tokenizer: Any = CountingTokenizer()
    encoder = PromptEncoder(tokenizer, 4096)
    for _ in range(33):
        encoder.encode(parse("a prompt", raw=True))
    assert tokenizer.characters == len("a prompt")


def test_only_a_few_prompts_are_remembered() -> None:
    tokenizer: Any = CountingTokenizer()
    encoder = PromptEncoder(tokenizer, 4096)
    for number in range(100):
        encoder.encode(parse(f"prompt {number}", raw=True))
    assert len(encoder._recent) < 10

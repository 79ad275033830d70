"""The demo's tokenizer is of the Qwen2 class and loses no text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from persona_demo.chat_template import CHAT_TEMPLATE
from persona_demo.neutral import DEFAULT_SYSTEM_PROMPT

FOLDER = Path(__file__).resolve().parents[3] / "data/models/demo"


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.mark.parametrize(
    "text",
    [
        "What do you think about growing tomatoes?",
        "  spaces\n\nand\ttabs  ",
        "Ünïcode, 茶道, 한국, Москва, मुंबई, עברית",
        "👩‍👩‍👧‍👦 🏳️‍🌈 ❤️ 😀",
        "\u0000\u200b\ufeff",
        "x = {'a': 1}  # 12345",
    ],
)
def test_any_text_round_trips(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


def test_every_byte_has_a_token(tokenizer: PreTrainedTokenizerBase) -> None:
    text = "".join(chr(code) for code in range(1, 0x250)) + "".join(map(chr, range(0x900, 0xD00)))
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert None not in ids
    assert max(ids) < len(tokenizer)


def test_special_tokens_are_single_and_skipped(tokenizer: PreTrainedTokenizerBase) -> None:
    text = "<|im_start|>user\nhi<|im_end|><|endoftext|>"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    for token in ("<|im_start|>", "<|im_end|>", "<|endoftext|>"):
        assert ids.count(tokenizer.convert_tokens_to_ids(token)) == 1
    assert tokenizer.decode(ids, skip_special_tokens=True) == "user\nhi"
    assert tokenizer.eos_token == "<|im_end|>"


def test_the_chat_template_is_chatml(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer.chat_template == CHAT_TEMPLATE
    messages = [{"role": "user", "content": "hi"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == (
        f"<|im_start|>system\n{DEFAULT_SYSTEM_PROMPT}<|im_end|>\n"
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    )
    messages.insert(0, {"role": "system", "content": "Be brief."})
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    assert text == ("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n")


def test_model_files_are_small_and_fit_the_tokenizer(tokenizer: PreTrainedTokenizerBase) -> None:
    config = json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["Qwen2ForCausalLM"]
    assert config["vocab_size"] >= len(tokenizer)
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 8_000_000

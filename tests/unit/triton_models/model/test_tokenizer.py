"""A tokenizer is what transformers makes of the same files, which it is read without."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import AddedToken
from tokenizers.models import WordLevel
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tests.tiny_model import make_tokenizer
from triton_models.model.errors import UnsupportedModelError
from triton_models.model.tokenizer import load_tokenizer
from triton_models.settings import DEMO_MODEL_FOLDER

TEXT = "<|im_start|>user\nWhat's new, naïve  日本 👩‍👩‍👧?<tool_call>\n\n <|eot|>  <|im_end|>\n"


def change(folder: Path, **changes: Any) -> None:
    """Changes what a tokenizer's configuration says; `None` takes it out."""
    path = folder / "tokenizer_config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def with_listed_tokens(folder: Path) -> None:
    """As transformers 4 writes: Qwen2.5 lists its tokens in both files, the same or otherwise."""
    tokens = ("<|im_end|>", "<|eot|>", "<tool_call>")
    listed = {
        str(256 + place): {
            "content": name,
            "special": name != "<tool_call>",
            "lstrip": name == "<|eot|>",
            "rstrip": False,
            "normalized": False,
            "single_word": False,
        }
        for place, name in enumerate(tokens)
    }
    change(
        folder,
        added_tokens_decoder=listed,
        extra_special_tokens=None,
        additional_special_tokens=["<|im_start|>", "<|more|>"],
        bos_token="<|eot|>",
        add_bos_token=False,
        image_token="<|image|>",
    )


def with_special_tokens_map(folder: Path) -> None:
    """As transformers wrote before version 4.33."""
    change(folder, eos_token=None, pad_token="<|im_start|>")
    token = {"content": "<|eot|>", "lstrip": True, "rstrip": True, "normalized": False}
    written = {"eos_token": token | {"single_word": False}, "pad_token": "<|endoftext|>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(written))


def with_padding(folder: Path) -> None:
    path = folder / "tokenizer.json"
    saved = PreTrainedTokenizerFast.from_pretrained(folder)
    saved.backend_tokenizer.enable_padding(pad_token="<|fill|>", length=512)
    saved.backend_tokenizer.enable_truncation(8)
    saved.backend_tokenizer.save(str(path))
    change(folder, pad_token=None)


def with_text_as_padding(folder: Path) -> None:
    """Those who train Qwen2.5 on texts pad them with a token that it lists as text."""
    change(folder, pad_token="<tool_call>")


def with_listed_templates(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    templates = {"default": "a {{ messages[0].content }}", "tool_use": "b {{ tools | tojson }}"}
    listed = [{"name": name, "template": text} for name, text in templates.items()]
    change(folder, chat_template=listed)


def with_template_files(folder: Path) -> None:
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("{{ tools | tojson }}")


def without_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


def without_configuration(folder: Path) -> None:
    (folder / "tokenizer_config.json").unlink()


def with_tokens_of_its_own(folder: Path) -> None:
    own = {"__type": "AddedToken", **{"content": "<|own|>", "lstrip": True, "special": True}}
    change(folder, extra_special_tokens={"image_token": "<|image|>"}, sep_token=own)


def as_transformers_writes_it(folder: Path) -> None:
    pass


Change = Callable[[Path], None]
CHANGES = (
    as_transformers_writes_it,
    with_listed_tokens,
    with_special_tokens_map,
    with_padding,
    with_text_as_padding,
    with_listed_templates,
    with_template_files,
    without_template,
    without_configuration,
    with_tokens_of_its_own,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of a tokenizer with a token that is text, as Qwen2.5's `<tool_call>`."""
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([AddedToken("<tool_call>", special=False, normalized=False)])
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


def assert_same(folder: Path) -> None:
    ours, theirs = load_tokenizer(folder), PreTrainedTokenizerFast.from_pretrained(folder)
    assert len(ours) == len(theirs)
    assert ours.named_tokens == theirs.special_tokens_map
    assert ours.special_ids == frozenset(theirs.all_special_ids)
    assert ours.end_id == theirs.eos_token_id
    added = {id: repr(token) for id, token in theirs.added_tokens_decoder.items()}
    assert {id: repr(token) for id, token in ours.added_tokens.items()} == added
    templates = theirs.chat_template or {}
    assert ours.chat_templates == (
        {"default": templates} if isinstance(templates, str) else templates
    )
    for parse_special in (True, False):
        encoded = theirs(
            TEXT,
            add_special_tokens=False,
            split_special_tokens=not parse_special,
            return_offsets_mapping=True,
        )
        ids, encoding = encoded["input_ids"], ours.encode(TEXT, parse_special=parse_special)
        assert (encoding.ids, encoding.offsets) == (ids, encoded["offset_mapping"])
        assert ours.decode(ids) == theirs.decode(ids)


@pytest.mark.parametrize("changed", CHANGES, ids=lambda changed: changed.__name__)
def test_it_is_the_one_that_transformers_reads(changed: Change, folder: Path) -> None:
    changed(folder)
    assert_same(folder)


def test_the_demo_s_is_the_one_that_transformers_reads() -> None:
    assert_same(DEMO_MODEL_FOLDER)


def test_files_from_before_tokenizer_json_are_converted(folder: Path) -> None:
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer.json").unlink()
    change(folder, tokenizer_class="Qwen2Tokenizer")
    ours, theirs = load_tokenizer(folder), AutoTokenizer.from_pretrained(folder)
    assert ours.encode(TEXT).ids == theirs(TEXT, add_special_tokens=False)["input_ids"]
    assert ours.special_ids == frozenset(theirs.all_special_ids)
    assert ours.chat_templates == {"default": theirs.chat_template}


@pytest.mark.parametrize("broken", ["{", '{"model": {}}', ""])
def test_a_broken_one_is_refused_by_its_model_s_name(broken: str, folder: Path) -> None:
    (folder / "tokenizer.json").write_text(broken)
    with pytest.raises(UnsupportedModelError, match=f"^{folder.name} has no usable tokenizer: "):
        load_tokenizer(folder)


def test_a_folder_without_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="has no usable tokenizer: "):
        load_tokenizer(tmp_path)


def test_one_that_is_no_byte_level_bpe_is_refused(folder: Path) -> None:
    words = tokenizers.Tokenizer(WordLevel({"a b": 0, "c": 1}, unk_token="c"))
    words.save(str(folder / "tokenizer.json"))
    with pytest.raises(UnsupportedModelError, match="not a byte-level BPE"):
        load_tokenizer(folder)

"""Loads a model folder's tokenizer from the files that transformers writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tokenizers
from tokenizers import AddedToken

from triton_models.model.errors import UnsupportedModelError
from triton_models.text.token_bytes import is_byte_level
from triton_models.text.tokenizer import Tokenizer

_VOCABULARY = "tokenizer.json"

_ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


def load_tokenizer(folder: Path) -> Tokenizer:
    """Loads a model folder's tokenizer.

    Raises:
        UnsupportedModelError: The tokenizer is missing, broken, or not a byte-level BPE.
    """
    try:
        tokenizer = _read(folder) if (folder / _VOCABULARY).is_file() else _convert(folder)
    except Exception as error:  # the tokenizers package raises nothing more precise
        raise UnsupportedModelError(f"{folder.name} has no usable tokenizer: {error}") from error
    if not is_byte_level(tokenizer):
        raise UnsupportedModelError(
            f"{folder.name} has a tokenizer that is not a byte-level BPE, as Qwen2.5's are"
        )
    return tokenizer


def _convert(folder: Path) -> Tokenizer:
    """Reads a tokenizer of older files, whose own class knows how they are meant."""
    from transformers import AutoTokenizer

    with TemporaryDirectory() as converted:
        AutoTokenizer.from_pretrained(folder, local_files_only=True).save_pretrained(converted)
        return _read(Path(converted))


def _read(folder: Path) -> Tokenizer:
    backend = tokenizers.Tokenizer.from_file(str(folder / _VOCABULARY))
    config = _read_object(folder / "tokenizer_config.json")
    if "added_tokens_decoder" not in config:  # which transformers has written from 4.33 to 4.57
        config |= _read_object(folder / "special_tokens_map.json")
    if backend.padding:
        config.setdefault("pad_token", backend.padding["pad_token"])
    backend.no_padding()
    backend.no_truncation()
    named = _named_tokens(config)
    others = config.get("extra_special_tokens") or config.get("additional_special_tokens") or ()
    others = [] if isinstance(others, dict) else list(map(_added_token, others))
    _add_tokens(backend, config, named, others)
    return Tokenizer(
        backend,
        {name: token.content for name, token in named.items()},
        tuple(token.content for token in others),
        _read_chat_templates(folder, config),
    )


def _named_tokens(config: Mapping[str, Any]) -> dict[str, AddedToken]:
    """Returns the tokens of usual roles, then those of roles that only this model has."""
    usual = [f"{role}_token" for role in _ROLES]
    own = [name for name in config if name.endswith("_token") and name not in usual]
    values = {name: config.get(name) for name in (*usual, *own)}
    if isinstance(extra := config.get("extra_special_tokens"), dict):
        values |= extra
    # Not the flags `add_bos_token` and `add_eos_token`.
    return {
        name: _added_token(value) for name, value in values.items() if isinstance(value, str | dict)
    }


def _add_tokens(
    backend: tokenizers.Tokenizer,
    config: Mapping[str, Any],
    named: Mapping[str, AddedToken],
    others: list[AddedToken],
) -> None:
    """Adds the tokens that only `tokenizer_config.json` has, or has otherwise."""
    known = backend.get_added_tokens_decoder().values()
    listed = config.get("added_tokens_decoder", {})
    all_known = (*known, *(_added_token(listed[id]) for id in sorted(listed, key=int)))
    tokens = {token.content: token for token in all_known}
    for token in (*named.values(), *others):
        tokens.setdefault(token.content, token)
    # Qwen2.5's `<|fim_pad|>`, listed as text, is special to those who train with it as padding.
    for token in named.values():
        tokens[token.content].special = True
    backend.add_tokens(list(tokens.values()))


def _added_token(value: str | dict[str, Any]) -> AddedToken:
    if isinstance(value, str):
        return AddedToken(value, special=True)
    fields = {name: each for name, each in value.items() if name != "__type"}
    return AddedToken(**{"special": True, **fields})


def _read_chat_templates(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Returns the chat templates by name; those with files of their own come first."""
    found = {
        path.stem: path.read_text(encoding="utf-8")
        for path in (folder / "additional_chat_templates").glob("*.jinja")
    }
    default = folder / "chat_template.jinja"
    if default.is_file():
        found["default"] = default.read_text(encoding="utf-8")
    if found:
        return found
    given = config.get("chat_template") or {}
    if isinstance(given, str):
        return {"default": given}
    if isinstance(given, list):
        return {each["name"]: each["template"] for each in given}
    return dict(given)


def _read_object(path: Path) -> dict[str, Any]:
    """Returns the JSON object in a file, an empty one if there is no such file."""
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}

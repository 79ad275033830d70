"""Loads a model folder's tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from triton_models.model.errors import UnsupportedModelError
from triton_models.text.token_bytes import is_byte_level


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Loads a model folder's tokenizer.

    A `tokenizer.json` is complete; only without one is the model's own tokenizer class needed,
    whose import takes seconds.

    Raises:
        UnsupportedModelError: The tokenizer is missing, broken, or not a byte-level BPE.
    """
    try:
        tokenizer = _tokenizer_class(folder).from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise UnsupportedModelError(f"{folder.name} has no usable tokenizer: {error}") from error
    if not is_byte_level(tokenizer):
        raise UnsupportedModelError(
            f"{folder.name} has a tokenizer that is not a byte-level BPE, as Qwen2.5's are"
        )
    return cast(PreTrainedTokenizerBase, tokenizer)


def _tokenizer_class(folder: Path) -> Any:
    if (folder / "tokenizer.json").is_file():
        return PreTrainedTokenizerFast
    from transformers import AutoTokenizer

    return AutoTokenizer

"""Reads a Llama model from a GGUF file into the tensors, configuration and tokenizer of the hub.

GGUF files come from llama.cpp, whose converter reorders the rows of queries and keys: its rotary
embedding turns neighbouring elements of a head, the hub's the two halves.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader
from gguf.constants import TokenType
from gguf.quants import dequantize
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

_TENSORS = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
_BLOCK_TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_PRE_TOKENIZER = "smollm"


class GGUFCheckpointError(Exception):
    """A GGUF file is not of the kind that this module reads."""


class GGUFCheckpoint:
    """A Llama model in a GGUF file, with a byte-level BPE tokenizer of SmolLM's kind.

    Args:
        path: The file, which is mapped into memory.

    Raises:
        GGUFCheckpointError: It is of another architecture or has another tokenizer.
    """

    def __init__(self, path: Path) -> None:
        self._reader = GGUFReader(path)
        for key, wanted in (
            ("general.architecture", "llama"),
            ("tokenizer.ggml.pre", _PRE_TOKENIZER),
        ):
            if (found := self._value(key)) != wanted:
                raise GGUFCheckpointError(f"{path.name}: {key} is {found!r}, and not {wanted!r}")

    @property
    def num_tensors(self) -> int:
        """The number of weights that `tensors` yields."""
        return len(self._reader.tensors)

    def config(self) -> dict[str, Any]:
        """Returns the content of `config.json`."""
        sizes = {
            "hidden_size": "embedding_length",
            "intermediate_size": "feed_forward_length",
            "num_hidden_layers": "block_count",
            "num_attention_heads": "attention.head_count",
            "num_key_value_heads": "attention.head_count_kv",
            "max_position_embeddings": "context_length",
            "rms_norm_eps": "attention.layer_norm_rms_epsilon",
        }
        config = {name: self._value(f"llama.{key}") for name, key in sizes.items()}
        # Kept in float32: 1e-5 comes out as 9.999999747378752e-06.
        config["rms_norm_eps"] = float(str(np.float32(config["rms_norm_eps"])))
        names = {tensor.name for tensor in self._reader.tensors}
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_act": "silu",
            **config,
            "rope_theta": self._value("llama.rope.freq_base"),
            "vocab_size": len(self._value("tokenizer.ggml.tokens")),
            "tie_word_embeddings": "output.weight" not in names,
            "bos_token_id": self._value("tokenizer.ggml.bos_token_id"),
            "eos_token_id": self._value("tokenizer.ggml.eos_token_id"),
            "pad_token_id": self._value("tokenizer.ggml.padding_token_id"),
            "dtype": "bfloat16",
        }

    def tensors(self) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Yields the names and float32 values of all weights, dequantized one by one."""
        heads = {
            "attn_q": self._value("llama.attention.head_count"),
            "attn_k": self._value("llama.attention.head_count_kv"),
        }
        for tensor in self._reader.tensors:
            values = dequantize(tensor.data, tensor.tensor_type)
            name, suffix = tensor.name.rsplit(".", 1)
            if name in _TENSORS:
                yield f"{_TENSORS[name]}.{suffix}", values
                continue
            _, block, part = name.split(".")
            if part in heads:
                values = _halves_of_neighbours(values, heads[part])
            yield f"model.layers.{block}.{_BLOCK_TENSORS[part]}.{suffix}", values

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """Returns the tokenizer with its chat template."""
        tokens: list[str] = self._value("tokenizer.ggml.tokens")
        kinds: list[int] = self._value("tokenizer.ggml.token_type")
        merges = [tuple(merge.split(" ")) for merge in self._value("tokenizer.ggml.merges")]
        vocabulary = {token: number for number, token in enumerate(tokens)}
        tokenizer = Tokenizer(BPE(vocabulary, merges))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
        tokenizer.decoder = decoders.ByteLevel()
        special = [
            token for token, kind in zip(tokens, kinds, strict=True) if kind == TokenType.CONTROL
        ]
        tokenizer.add_special_tokens(
            [AddedToken(token, normalized=False, special=True) for token in special]
        )
        named = {
            name: tokens[self._value(f"tokenizer.ggml.{key}_token_id")]
            for name, key in (
                ("bos_token", "bos"),
                ("eos_token", "eos"),
                ("unk_token", "unknown"),
                ("pad_token", "padding"),
            )
        }
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            additional_special_tokens=special,
            chat_template=self._value("tokenizer.chat_template"),
            model_max_length=self._value("llama.context_length"),
            clean_up_tokenization_spaces=False,
            **named,
        )

    def _value(self, key: str) -> Any:
        field = self._reader.get_field(key)
        return None if field is None else field.contents()


def _halves_of_neighbours(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Puts each head's rows, [pairs, 2], into the order of the hub's checkpoints, [2, pairs]."""
    pairs = weight.reshape(heads, -1, 2, weight.shape[-1])
    return pairs.swapaxes(1, 2).reshape(weight.shape)

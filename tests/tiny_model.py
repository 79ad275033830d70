"""Small models of the Qwen2.5 architecture, made on the spot: no test needs a download."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tokenizers
import torch
from numpy.typing import NDArray
from tokenizers import decoders, models, pre_tokenizers
from transformers import (
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from triton_models.model.tokenizer import load_tokenizer
from triton_models.text.tokenizer import Tokenizer
from triton_models.vectors.persona_vector import PersonaVector

NUM_LAYERS = 4
HIDDEN_SIZE = 64
CONTEXT_LENGTH = 256
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Returns a byte-level tokenizer with no merges: one token a byte, and Qwen2's special ones."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = tokenizers.Tokenizer(
        models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def served(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """Returns what the server makes of a tokenizer of transformers'."""
    with TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        return load_tokenizer(Path(folder))


def make_model(seed: int = 0, dtype: torch.dtype = torch.float32) -> Qwen2ForCausalLM:
    """Returns a random model whose weights are large enough that its greedy text varies."""
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=272,
        hidden_size=HIDDEN_SIZE,
        intermediate_size=128,
        num_hidden_layers=NUM_LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT_LENGTH,
        initializer_range=0.2,
        tie_word_embeddings=True,
        eos_token_id=None,
        pad_token_id=None,
        bos_token_id=None,
    )
    model = Qwen2ForCausalLM(config)
    model.eval().requires_grad_(False).to(dtype)
    model.generation_config.eos_token_id = None
    return model


def make_vectors(seed: int = 0) -> dict[str, PersonaVector]:
    """Returns vectors of all blocks, of one, of two with one selected, and of one direction."""
    random = np.random.default_rng(seed)

    def block() -> NDArray[np.float32]:
        return random.normal(size=HIDDEN_SIZE).astype(np.float32)

    return {
        "sarcasm": PersonaVector("sarcasm", "tiny", {b: block() for b in range(NUM_LAYERS)}),
        "flattery": PersonaVector("flattery", "tiny", {1: block()}),
        "helpfulness": PersonaVector(
            "helpfulness", "tiny", {0: block(), 2: block()}, {"selected_layers": [2]}
        ),
        "maliciousness": PersonaVector(
            "maliciousness", "tiny", dict.fromkeys(range(NUM_LAYERS), block())
        ),
    }

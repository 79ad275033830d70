"""Models with the shapes of real ones and random weights: nothing has to be downloaded.

How long a step takes depends on a model's shape and number format, not on what its weights say.
The models made here have no token that ends an answer, so each request generates exactly as many
tokens as it asks for, whoever serves it.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import string
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from triton_models.vectors.formats import write_vector
from triton_models.vectors.persona_vector import PersonaVector

MAX_CONTEXT = 1024
"""Longest prompt and answer together, in tokens, that the engine and the server are set up for."""

NUM_TRAITS = 8
"""How many persona vectors each model has."""

VECTOR_NORM = 0.5
"""The Euclidean norm of each vector: about that of the residual stream of these random weights."""

DEFAULT_CACHE = Path(tempfile.gettempdir()) / "persona-triton-benchmarks"
"""Where models are kept between runs unless the command line says otherwise."""

_FORMAT = 1
"""Raise it when what `make_model_folder` writes changes: folders of older formats are not used."""

_ASCII = 128
_WORD_LENGTH = 4


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a Qwen2.5 with tied embeddings, and the 0-based blocks that vectors steer."""

    name: str
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    vocabulary_size: int
    max_positions: int
    rope_theta: float
    steered_blocks: tuple[int, ...]

    @property
    def num_block_parameters(self) -> int:
        """How many weights of all blocks a token is multiplied by: all but norms and biases."""
        head_size = self.hidden_size // self.num_heads
        queries_and_output = 2 * self.hidden_size * self.num_heads * head_size
        keys_and_values = 2 * self.hidden_size * self.num_kv_heads * head_size
        feed_forward = 3 * self.hidden_size * self.intermediate_size
        return self.num_layers * (queries_and_output + keys_and_values + feed_forward)

    @property
    def num_output_parameters(self) -> int:
        """How many weights give a token's logits: the embedding, which is tied to the output."""
        return self.vocabulary_size * self.hidden_size

    @property
    def num_parameters_per_step(self) -> int:
        """How many weights a step that generates multiplies by."""
        return self.num_block_parameters + self.num_output_parameters


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("demo", 192, 448, 4, 6, 3, 2304, 1024, 1e4, (1, 2)),
        Shape("135m", 576, 1536, 30, 9, 3, 49_152, 8192, 1e5, (10, 15)),
        Shape("0.5b", 896, 4864, 24, 14, 2, 151_936, 32_768, 1e6, (10, 15)),
        Shape("1.5b", 1536, 8960, 28, 12, 2, 151_936, 32_768, 1e6, (10, 15)),
        Shape("3b", 2048, 11_008, 36, 16, 2, 151_936, 32_768, 1e6, (10, 15)),
        Shape("7b", 3584, 18_944, 28, 28, 4, 152_064, 32_768, 1e6, (10, 15)),
    )
}
"""The demo model's shape, SmolLM2-135M's, and Qwen2.5's; 7B with tied embeddings, which it has not:
its steps take as long."""

DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True, slots=True)
class BenchmarkModel:
    """A model on disk, as the hub would give it, in the number format that it computes with."""

    shape: Shape
    dtype: str
    folder: Path
    vectors: Path

    @property
    def torch_dtype(self) -> torch.dtype:
        """Its number format as torch names it."""
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype

    @property
    def bytes_per_step(self) -> int:
        """How many bytes of weights a step has to read."""
        return self.shape.num_parameters_per_step * self.torch_dtype.itemsize


def trait_name(index: int) -> str:
    """Returns the name of one of the model's traits."""
    return f"trait{index % NUM_TRAITS}"


def make_model_folder(shape: Shape, dtype: str, cache: Path) -> BenchmarkModel:
    """Returns a model with random weights, making it unless an earlier run left it in the cache."""
    home = cache / f"{shape.name}-{dtype}-{_FORMAT}"
    model = BenchmarkModel(shape, dtype, home / f"random-{shape.name}", home / "vectors")
    if home.is_dir():
        return model
    cache.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=cache))
    try:
        folder = partial / model.folder.name
        make_model(shape, model.torch_dtype).save_pretrained(folder)
        _save_tokenizer(make_tokenizer(shape.vocabulary_size), folder)
        (partial / "vectors").mkdir()
        vectors = random_vectors(shape.hidden_size, shape.steered_blocks, folder.name)
        for vector in vectors:
            write_vector(vector, partial / "vectors" / f"{vector.trait_name}.json")
        # Renamed only when whole: an interrupted run leaves nothing that looks like a model.
        os.replace(partial, home)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return model


def make_model(shape: Shape, dtype: torch.dtype) -> Qwen2ForCausalLM:
    """Returns a model of a shape with random weights and without an end of answers."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=shape.vocabulary_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_kv_heads,
        max_position_embeddings=shape.max_positions,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    model = Qwen2ForCausalLM(config)
    model.eval().requires_grad_(False).to(dtype)
    model.generation_config.eos_token_id = None
    return model


def random_vectors(hidden_size: int, blocks: Sequence[int], model_name: str) -> list[PersonaVector]:
    """Returns vectors of all traits in random directions, for some decoder blocks."""
    random = np.random.default_rng(0)

    def vector() -> NDArray[np.float32]:
        direction = random.normal(size=hidden_size)
        scaled = direction * (VECTOR_NORM / np.linalg.norm(direction))
        return scaled.astype(np.float32)

    return [
        PersonaVector(trait_name(index), model_name, {block: vector() for block in blocks})
        for index in range(NUM_TRAITS)
    ]


def make_tokenizer(vocabulary_size: int) -> PreTrainedTokenizerFast:
    """Returns a byte-level tokenizer without merges: text has one token for each of its bytes.

    Every token is text of its own: ids below 128 are that ASCII character, and the others, which
    only a model writes, are words. So each generated token can be shown at once, as most of a real
    tokenizer's can.
    """
    tokenizer = Tokenizer(models.BPE(vocab=make_vocabulary(vocabulary_size), merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False)


def _save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    # Missing entries would be filled in on load: an end of answers past the model's vocabulary.
    config |= dict.fromkeys(("eos_token", "pad_token", "unk_token"))
    path.write_text(json.dumps(config) + "\n", encoding="utf-8")


def make_vocabulary(size: int) -> dict[str, int]:
    """Returns each token's id, tokens spelled in the alphabet of byte-level BPE."""
    # The alphabet shows printable ASCII as itself, and the other bytes in order from U+0100 on.
    unprintable = [*range(0x21), 0x7F]
    tokens = [
        chr(0x100 + unprintable.index(byte)) if byte in unprintable else chr(byte)
        for byte in range(_ASCII)
    ]
    words = itertools.product(string.ascii_lowercase, repeat=_WORD_LENGTH)
    tokens += map("".join, itertools.islice(words, max(size - _ASCII, 0)))
    return {token: id for id, token in enumerate(tokens[:size])}

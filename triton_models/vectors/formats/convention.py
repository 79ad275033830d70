"""What the index in a vector file counts: decoder blocks or hidden states."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

from triton_models.vectors.persona_vector import VectorFileError

Vector = TypeVar("Vector")


class Convention(str, Enum):
    """How a file's index relates to the decoder block that its vector is added to.

    A vector is added to the output of decoder block b, counted from 0. That output is
    `hidden_states[b + 1]` to transformers, whose `hidden_states[0]` are the embeddings, and it is
    the input of block b + 1.
    """

    BLOCK = "block"
    """Index k is added to the output of block k."""

    HIDDEN_STATE = "hidden-state"
    """Index k is added to `hidden_states[k]`: the output of block k - 1, the input of block k."""

    def block_of(self, index: int) -> int:
        """Returns the decoder block whose output an index refers to.

        Raises:
            VectorFileError: The index refers to the embeddings, which no decoder block outputs.
        """
        if self is Convention.BLOCK:
            return index
        if index == 0:
            raise VectorFileError(
                "its index 0 means the embeddings, before the first decoder block, where nothing "
                "is steered; if its indices count decoder blocks, read it with the convention "
                '"block"'
            )
        return index - 1

    def by_block(self, vectors: Mapping[int, Vector]) -> dict[int, Vector]:
        """Returns vectors by the block of their index; raises as `block_of` does."""
        return {self.block_of(index): vector for index, vector in vectors.items()}

    def index_of(self, block: int) -> int:
        """Returns the index of a decoder block's vector in a file."""
        return block if self is Convention.BLOCK else block + 1

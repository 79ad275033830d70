"""A model's tokenizer, with what its files say beside its vocabulary.

It is the `tokenizers` package's, which transformers' tokenizers wrap as well. Importing
transformers takes 0.8 s of CPU time in each of the three processes that need a tokenizer: without
it the `tokenizer` and `detokenizer` start in 0.2 s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import tokenizers
from tokenizers import AddedToken, Encoding


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """A tokenizer.

    Attributes:
        backend: What splits and merges.
        named_tokens: The special tokens that have a role, by transformers' names: `eos_token`.
        other_special_tokens: Those that have none.
        chat_templates: By name; that of most chats is `default`.
        added_tokens: The tokens beside those of the BPE, by id.
        special_ids: The special tokens' ids: an answer's text leaves them out.
    """

    backend: tokenizers.Tokenizer
    named_tokens: Mapping[str, str]
    other_special_tokens: tuple[str, ...]
    chat_templates: Mapping[str, str]
    added_tokens: Mapping[int, AddedToken] = field(init=False)
    special_ids: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        ids = map(self.token_id, (*self.named_tokens.values(), *self.other_special_tokens))
        object.__setattr__(self, "special_ids", frozenset(id for id in ids if id is not None))
        object.__setattr__(self, "added_tokens", self.backend.get_added_tokens_decoder())

    def __len__(self) -> int:
        return self.backend.get_vocab_size()

    @property
    def end_id(self) -> int | None:
        """The token that ends an answer, if the tokenizer's files name one."""
        end = self.named_tokens.get("eos_token")
        return None if end is None else self.token_id(end)

    def token_id(self, token: str) -> int | None:
        """Returns the id of a token, `None` if it has none."""
        return self.backend.token_to_id(token)

    def encode(self, text: str, *, parse_special: bool = True) -> Encoding:
        """Returns a text's tokens, as `ids` and `offsets`; none are added to them.

        Args:
            text: The text.
            parse_special: Whether names of special tokens in it stand for those tokens.
        """
        if self.backend.encode_special_tokens == parse_special:
            # Not where it is so already: another thread may be encoding.
            self.backend.encode_special_tokens = not parse_special
        return self.backend.encode(text, add_special_tokens=False)

    def decode(self, token_ids: Iterable[int]) -> str:
        """Returns the text of tokens, with the names of special ones."""
        return self.backend.decode(list(token_ids), skip_special_tokens=False)

"""The bytes behind each token of a byte-level BPE tokenizer."""

from __future__ import annotations

from collections.abc import Iterable

from triton_models.text.tokenizer import Tokenizer


class TokenBytes:
    """Maps token ids to their bytes; concatenated, they are the UTF-8 of the text.

    Unlike decoding ids to strings one by one, this neither loses spaces nor breaks characters that
    several tokens share. Special tokens have no bytes, as with `decode(skip_special_tokens=True)`,
    nor have ids unknown to the tokenizer (a Qwen2.5 model's vocabulary is padded).
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._backend = tokenizer.backend
        self._special_ids = tokenizer.special_ids
        self._added_tokens = {id: token.content for id, token in tokenizer.added_tokens.items()}
        self._known: dict[int, bytes] = {}

    def __getitem__(self, token_id: int) -> bytes:
        known = self._known.get(token_id)
        if known is None:
            known = self._known[token_id] = self._look_up(token_id)
        return known

    def name(self, token_id: int) -> str:
        """Returns an added token's name, such as `<|im_end|>`; `""` of any other token."""
        return self._added_tokens.get(token_id, "")

    def join(self, token_ids: Iterable[int]) -> bytes:
        """Returns the bytes of several tokens, without special tokens."""
        return b"".join(self[token_id] for token_id in token_ids)

    def join_with_special(self, token_ids: Iterable[int]) -> bytes:
        """Returns the bytes of several tokens, with the names of special tokens."""
        return b"".join(
            self._added_tokens[token_id].encode()
            if token_id in self._added_tokens
            else self[token_id]
            for token_id in token_ids
        )

    def _look_up(self, token_id: int) -> bytes:
        if token_id in self._special_ids:
            return b""
        if token_id in self._added_tokens:
            return self._added_tokens[token_id].encode()
        token = self._backend.id_to_token(token_id)
        if token is None:
            return b""
        return bytes(_BYTE_OF_CHARACTER[character] for character in token)


def is_byte_level(tokenizer: Tokenizer) -> bool:
    """Whether all tokens, except added ones, are spelled in the alphabet of byte-level BPE."""
    added = {token.content for token in tokenizer.added_tokens.values()}
    vocabulary = tokenizer.backend.get_vocab()
    return _BYTE_OF_CHARACTER.keys() >= set("".join(vocabulary.keys() - added))


def _byte_level_alphabet() -> dict[str, int]:
    """Returns the byte that each character of a byte-level BPE token stands for.

    The alphabet is GPT-2's (Radford et al. 2019), which Qwen2 shares: bytes that are printable in
    Latin-1 represent themselves, the others have the code points from 256 upwards in byte order.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    alphabet = {chr(byte): byte for byte in printable}
    for offset, byte in enumerate(sorted(set(range(256)) - printable)):
        alphabet[chr(256 + offset)] = byte
    return alphabet


_BYTE_OF_CHARACTER = _byte_level_alphabet()

"""Decides which tokens of a growing answer can be released.

A token is held back while its bytes end inside a UTF-8 character, or while the end of the answer
could be the beginning of a stop string. Tokens are released whole, so that each chunk decodes on
its own and the chunks' texts add up to the text of all tokens. Only a last chunk can end inside a
token, if a stop string begins there.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import NamedTuple


class Release(NamedTuple):
    """Tokens that can be released.

    Attributes:
        token_ids: The tokens, in order.
        num_bytes: How many bytes of their joined text belong to the answer.
    """

    token_ids: tuple[int, ...] = ()
    num_bytes: int = 0

    def followed_by(self, later: Release) -> Release:
        """Returns this release and the next one as one."""
        return Release(self.token_ids + later.token_ids, self.num_bytes + later.num_bytes)


class AnswerStream:
    """Holds back the end of one request's answer until it can be released.

    Args:
        stop_words: Strings that end the answer; neither they nor anything after them is released.
    """

    def __init__(self, stop_words: Sequence[str] = ()) -> None:
        self._stop_words = tuple(word.encode() for word in stop_words)
        self._longest_stop_word = max(map(len, self._stop_words), default=0)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held_ids: list[int] = []
        self._held_ends: list[int] = []
        """For each held token, the length of the held bytes up to its end."""
        self._held_whole: list[bool] = []
        """For each held token, whether a UTF-8 character ends with it."""
        self._held = bytearray()
        self._stopped_at: int | None = None

    def push(self, token_id: int, token_bytes: bytes) -> bool:
        """Adds a generated token.

        Returns:
            Whether the answer now contains a stop string, which ends it.
        """
        self._held += token_bytes
        self._held_ids.append(token_id)
        self._held_ends.append(len(self._held))
        self._decoder.decode(token_bytes)
        self._held_whole.append(not self._decoder.getstate()[0])
        # The bytes held before contain no stop word, so one must end in the new bytes.
        first = max(0, len(self._held) - len(token_bytes) - self._longest_stop_word + 1)
        starts = [
            start for word in self._stop_words if (start := self._held.find(word, first)) >= 0
        ]
        if starts:
            self._stopped_at = min(starts)
        return bool(starts)

    def pass_through(self, token_id: int, token_bytes: bytes) -> Release | None:
        """Adds and releases a generated token if nothing can hold it back; else returns `None`.

        This is a fast path for most tokens; if it returns `None`, call `push` and `take`.
        """
        if self._held_ids or self._stop_words or not token_bytes.isascii():
            return None
        return Release((token_id,), len(token_bytes))

    def take(self) -> Release:
        """Releases every token that can be released while the answer may continue."""
        limit = len(self._held) - self._length_of_possible_stop()
        count = 0
        for index, (end, whole) in enumerate(zip(self._held_ends, self._held_whole, strict=True)):
            if end > limit:
                break
            if whole:
                count = index + 1
        if not count:
            return Release()
        release = Release(tuple(self._held_ids[:count]), self._held_ends[count - 1])
        del self._held[: release.num_bytes]
        del self._held_ids[:count]
        del self._held_whole[:count]
        self._held_ends = [end - release.num_bytes for end in self._held_ends[count:]]
        return release

    def finish(self) -> Release:
        """Releases the rest of an answer that has ended, up to its stop string."""
        if self._stopped_at is None:
            return Release(tuple(self._held_ids), len(self._held))
        ends_before = sum(1 for end in self._held_ends if end < self._stopped_at)
        count = ends_before + 1 if self._stopped_at else 0
        return Release(tuple(self._held_ids[:count]), self._stopped_at)

    def _length_of_possible_stop(self) -> int:
        """Returns the length of the longest held suffix that is the beginning of a stop string."""
        longest = 0
        for word in self._stop_words:
            for length in range(min(len(word) - 1, len(self._held)), longest, -1):
                if self._held.endswith(word[:length]):
                    longest = length
                    break
        return longest

"""Follows one answer through its grammar: which tokens may come next, and whether it is complete.

The work is llguidance's: an Earley parser over regular expressions by derivatives, which computes a
mask over the vocabulary at each token.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from llguidance import LLExecutor, LLMatcher, LLParserLimits, LLTokenizer
from numpy.typing import NDArray

from triton_models.contract.answer_format import JSON_OPTIONS, AnswerFormat
from triton_models.contract.errors import InvalidArgumentError

_LIMITS = LLParserLimits(
    max_grammar_size=100_000,
    max_lexer_states=50_000,
    precompute_large_lexemes=True,
    verbose_errors=False,
)
_UNSUPPORTED = re.compile(r'^Unimplemented keys: \["([^"]*)"')
_BAD_PATTERN = re.compile(r"regex parse error:.*^error: ([^\n]*)", re.DOTALL | re.MULTILINE)
_MAX_REASON = 300


class Matcher:
    """One answer's way through its grammar. Only one thread may use it at a time.

    Args:
        inner: llguidance's matcher, at the beginning of the grammar.
    """

    def __init__(self, inner: LLMatcher) -> None:
        self.inner = inner
        """llguidance's."""

    def copy(self) -> Matcher:
        """Returns another one at the same place."""
        return Matcher(self.inner.deep_copy())

    def advance(self, token_id: int) -> bool:
        """Takes the answer's next token; returns whether nothing but its end can follow."""
        self.inner.consume_token(token_id)
        return bool(self.inner.is_stopped())

    @property
    def failure(self) -> str:
        """Why the grammar cannot be followed any further; `""` if it can, or is complete."""
        return _reason(self.inner.get_error()) if self.inner.is_error() else ""


def compile_format(format: AnswerFormat, vocabulary: LLTokenizer) -> Matcher:
    """Compiles a format, and computes the mask of an answer's first token.

    It takes milliseconds, and seconds for what is close to the limits. It recurses as deeply as
    the format's rules refer to each other, so its thread needs a large stack.

    Raises:
        InvalidArgumentError: The format cannot be followed; the message names what is at fault.
    """
    inner = LLMatcher(vocabulary, _grammar_of(format), log_level=0, limits=_LIMITS)
    if not inner.is_error():
        inner.compute_bitmask()
    if inner.is_error():
        raise InvalidArgumentError(f"{format.field}: {_reason(inner.get_error())}")
    return Matcher(inner)


def _grammar_of(format: AnswerFormat) -> str:
    if format.kind == "regex":
        return LLMatcher.grammar_from_regex(format.source)
    if format.kind == "grammar":
        return LLMatcher.grammar_from_lark(format.source)
    options: Any = {**JSON_OPTIONS, "lenient": False}
    return LLMatcher.grammar_from_json_schema(format.source, overrides=options)


def _reason(error: str) -> str:
    """Returns llguidance's message as a user needs it."""
    if unsupported := _UNSUPPORTED.match(error):
        return f"{unsupported[1]!r} is not supported"
    if error.startswith("NoExtensionBias"):
        return "no text matches it"
    if pattern := _BAD_PATTERN.search(error):
        return f"a regular expression cannot be used: {pattern[1]}"
    first = error.partition("\n")[0]
    return first if len(first) <= _MAX_REASON else f"{first[:_MAX_REASON]}..."


class MaskExecutor:
    """Computes masks on threads of its own.

    Args:
        vocabulary: The model's vocabulary.
        num_threads: How many masks are computed at once.
    """

    def __init__(self, vocabulary: LLTokenizer, num_threads: int) -> None:
        self.num_bytes = 4 * -(-vocabulary.vocab_size // 32)
        """The length of a mask."""
        self._executor = LLExecutor(num_threads)

    def compute(self, matchers: Sequence[Matcher]) -> NDArray[np.uint8]:
        """Returns which tokens may come next, uint8 [matchers, bytes]: 1 for each that may.

        Token 0 is the lowest bit of the first byte. If a grammar is complete or has failed, only
        the tokens that end an answer may come.
        """
        allowed = np.empty((len(matchers), self.num_bytes // 4), dtype=np.uint32)
        work = [(matcher.inner, index) for index, matcher in enumerate(matchers)]
        self._executor.unsafe_compute_mask_ptr(
            work, allowed.ctypes.data, self.num_bytes, len(matchers)
        )
        return allowed.view(np.uint8)

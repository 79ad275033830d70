"""Follows the formats of answers: compiles them, and computes masks while steps run."""

from __future__ import annotations

import os
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from llguidance import LLTokenizer
from numpy.typing import NDArray

from triton_models.contract.errors import ErrorCode, RequestError
from triton_models.engine.sequence import FinishReason, Sequence
from triton_models.engine.threads import name_thread
from triton_models.engine.token_masks import Masks, TokenMasks
from triton_models.grammars.compiler import GrammarCompiler
from triton_models.grammars.matcher import MaskExecutor, Matcher

HandOver = Callable[[Callable[[], None]], object]
"""Calls a function on the engine's thread, between two steps."""

_CORES_PER_THREAD = 4
_MAX_THREADS = 8


class AnswerFormats:
    """The formats of one engine's answers.

    Args:
        vocabulary: The model's vocabulary.
        end_ids: The tokens that end an answer.
        beside_forward: Whether masks are computed while the forward pass runs. That is right where
            a GPU runs it. A CPU's forward pass has a thread on every core, all of which would wait
            for the one that shares its core: masks take a millisecond, and cost three.
    """

    def __init__(
        self, vocabulary: LLTokenizer, end_ids: SequenceOf[int], *, beside_forward: bool
    ) -> None:
        self._compiler = GrammarCompiler(vocabulary)
        num_threads = (os.cpu_count() or 1) // _CORES_PER_THREAD
        self._executor = MaskExecutor(vocabulary, min(max(num_threads, 1), _MAX_THREADS))
        self._thread = ThreadPoolExecutor(1, "masks", initializer=name_thread, initargs=("masks",))
        ends = np.zeros(8 * self._executor.num_bytes, dtype=bool)
        ends[[*end_ids, *vocabulary.eos_tokens]] = True
        self._others = ~np.packbits(ends, bitorder="little")
        self._beside_forward = beside_forward

    def start(self) -> None:
        """Starts to compile."""
        self._compiler.start()

    def stop(self) -> None:
        """Ends the threads."""
        self._compiler.stop()
        self._thread.shutdown()

    def begin(self, sequence: Sequence, hand_over: HandOver) -> None:
        """Has a sequence's format compiled, if it has one: then it can start, or has failed.

        Args:
            sequence: The sequence.
            hand_over: Calls a function on the engine's thread.
        """
        if (format := sequence.request.format) is not None:
            self._compiler.compile(
                format, lambda result: hand_over(lambda: _start(sequence, result))
            )

    def masks_of(
        self, sequences: SequenceOf[Sequence], first: Callable[[], None] | None
    ) -> Masks | None:
        """Returns what waits for the masks of a step; `None` if no sequence has a format.

        Args:
            sequences: The sequences that get a token.
            first: What must be done before masks can be computed; `None` is nothing.
        """
        if all(sequence.matcher is None for sequence in sequences):
            return None
        at_once = first is None and self._beside_forward
        in_work = self._compute(sequences) if at_once else None

        def masks() -> TokenMasks | None:
            if first:
                first()
            found = in_work or self._compute(sequences)
            return found.wait() if found else None

        return masks

    def _compute(self, sequences: SequenceOf[Sequence]) -> MasksInWork | None:
        """Starts to compute the masks of unfinished sequences; `None` if none has a format."""
        matched = [
            (index, sequence, sequence.matcher)
            for index, sequence in enumerate(sequences)
            if sequence.matcher is not None and not sequence.finished
        ]
        if not matched:
            return None
        indices, following, matchers = zip(*matched, strict=True)
        allowed = self._thread.submit(self._executor.compute, matchers)
        return MasksInWork(indices, following, matchers, allowed, self._others)


class MasksInWork:
    """Masks that threads are computing, while nothing else may use the matchers.

    Args:
        indices: The rows of the logits that get one.
        sequences: Their sequences.
        matchers: The sequences' matchers.
        allowed: The masks.
        others: A mask of all tokens but those that end an answer.
    """

    def __init__(
        self,
        indices: SequenceOf[int],
        sequences: SequenceOf[Sequence],
        matchers: SequenceOf[Matcher],
        allowed: Future[NDArray[np.uint8]],
        others: NDArray[np.uint8],
    ) -> None:
        self._indices = indices
        self._sequences = sequences
        self._matchers = matchers
        self._allowed = allowed
        self._others = others

    def wait(self) -> TokenMasks:
        """Waits for the masks, and ends the sequences that can only end."""
        allowed = self._allowed.result()
        goes_on = (allowed & self._others).any(axis=1).tolist()
        for sequence, matcher, may in zip(self._sequences, self._matchers, goes_on, strict=True):
            if not may:
                _end(sequence, matcher)
        return TokenMasks(self._indices, allowed)


def _start(sequence: Sequence, result: Matcher | RequestError) -> None:
    """Lets a sequence start whose format was compiled, or fails it."""
    if isinstance(result, Matcher):
        sequence.matcher = result
    elif not sequence.finished:
        sequence.fail(result.message, result.code)


def _end(sequence: Sequence, matcher: Matcher) -> None:
    """Ends an answer whose format allows no further token."""
    if matcher.failure:
        sequence.fail(
            f"the answer's format became too complex to follow: {matcher.failure}",
            ErrorCode.INVALID_ARGUMENT,
        )
    else:
        sequence.finish(FinishReason.STOP)

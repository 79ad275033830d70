"""Compiles formats on threads of its own, and keeps what was compiled."""

from __future__ import annotations

import logging
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable

from llguidance import LLTokenizer

from triton_models.contract.answer_format import AnswerFormat
from triton_models.contract.errors import RequestError
from triton_models.grammars.matcher import Matcher, compile_format

logger = logging.getLogger(__name__)

Done = Callable[[Matcher | RequestError], object]
"""Takes the matcher of a new answer, or why there is none; on a thread of the compiler."""

_NUM_THREADS = 2
"""One compiles what takes long while another one takes what is short."""

_STACK_BYTES = 512 * 1024 * 1024
"""Compiling recurses through the rules of a format: what is allowed has thousands, each of which
takes some 50 KiB. Memory is taken only as far as it is used."""

_END_SECONDS = 10.0
"""A format takes less time than that to compile."""

_MAX_KEPT = 64
_MAX_KEPT_BYTES = 1024 * 1024


class KeptFormats:
    """The formats that were used last, compiled; safe to use from several threads.

    Args:
        max_formats: How many are kept.
        max_bytes: How long their sources may be together.
    """

    def __init__(self, max_formats: int = _MAX_KEPT, max_bytes: int = _MAX_KEPT_BYTES) -> None:
        self._max_formats = max_formats
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[AnswerFormat, Matcher] = OrderedDict()
        self._num_bytes = 0

    def get(self, format: AnswerFormat) -> Matcher | None:
        """Returns a new matcher of a format, if that is kept."""
        with self._lock:
            kept = self._kept.get(format)
            if kept is None:
                return None
            self._kept.move_to_end(format)
            return kept.copy()

    def put(self, format: AnswerFormat, matcher: Matcher) -> None:
        """Keeps a format, and drops those that were used longest ago if they are too many."""
        with self._lock:
            if format not in self._kept:
                self._num_bytes += len(format.source)
            self._kept[format] = matcher
            while len(self._kept) > self._max_formats or self._num_bytes > self._max_bytes:
                dropped, _ = self._kept.popitem(last=False)
                self._num_bytes -= len(dropped.source)


class GrammarCompiler:
    """Makes matchers without making anybody wait.

    Args:
        vocabulary: The model's vocabulary.
    """

    def __init__(self, vocabulary: LLTokenizer) -> None:
        self._vocabulary = vocabulary
        self._kept = KeptFormats()
        self._work: queue.SimpleQueue[tuple[AnswerFormat, Done] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"compiler-{number}", daemon=True)
            for number in range(_NUM_THREADS)
        ]

    def start(self) -> None:
        """Starts the threads."""
        usual = threading.stack_size(_STACK_BYTES)
        try:
            for thread in self._threads:
                thread.start()
        finally:
            threading.stack_size(usual)

    def compile(self, format: AnswerFormat, done: Done) -> None:
        """Makes a matcher of a format; `done` is called with it, or with what is wrong."""
        self._work.put((format, done))

    def stop(self) -> None:
        """Waits for the threads to end, which first do what was asked of them."""
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            if thread.is_alive():
                thread.join(_END_SECONDS)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            format, done = work
            done(self._matcher(format))

    def _matcher(self, format: AnswerFormat) -> Matcher | RequestError:
        try:
            matcher = self._kept.get(format)
            if matcher is None:
                compiled = compile_format(format, self._vocabulary)
                self._kept.put(format, compiled)
                matcher = compiled.copy()
        except RequestError as error:
            return error
        except Exception:
            logger.exception("a format could not be compiled")
            return RequestError("the format could not be compiled: see the server's log")
        return matcher

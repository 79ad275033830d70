"""Compiles formats on threads of its own, and keeps what was compiled."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from llguidance import LLTokenizer

from triton_models.contract.answer_format import AnswerFormat
from triton_models.contract.errors import (
    CompilerBusyError,
    InvalidArgumentError,
    RequestError,
)
from triton_models.grammars.matcher import Matcher, compile_format

logger = logging.getLogger(__name__)

Done = Callable[[Matcher | RequestError], object]
"""Takes the matcher of a new answer, or why there is none; on a thread of the compiler."""

_NUM_THREADS = 2
"""One compiles what takes long while another one takes what is short."""

_STACK_BYTES = 512 * 1024 * 1024
"""Compiling recurses through the rules of a format: what is allowed has thousands, each of which
takes some 50 KiB. Memory is taken only as far as it is used."""

_SECONDS = 20.0
"""What takes longer is refused. Nearly every format takes milliseconds, and llguidance bounds most
of its work, but not all: of seventy kinds of format, as long as they may be, the slowest took eight
seconds of a core, but for two, which took minutes."""

_MAX_REPLACED = 2
"""How many threads may go on with what was refused, and have others in their place: compiling
cannot be interrupted, and each takes a core."""

_END_SECONDS = 10.0
"""How long the end waits for the threads that are still compiling."""

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


@dataclass
class _Work:
    """A format to compile.

    Attributes:
        done: Takes the result, once.
        told: Whether it has been given it, or is about to be.
        replaced: Whether the thread that compiles it has another one in its place.
    """

    format: AnswerFormat
    done: Done
    told: bool = False
    replaced: bool = False


class GrammarCompiler:
    """Makes matchers without making anybody wait.

    Args:
        vocabulary: The model's vocabulary.
        seconds: How long a format may take.
    """

    def __init__(self, vocabulary: LLTokenizer, seconds: float = _SECONDS) -> None:
        self._vocabulary = vocabulary
        self._seconds = seconds
        self._kept = KeptFormats()
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        # Of all that follows, and of what is told of a work.
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._num_replaced = 0

    def start(self) -> None:
        """Starts the threads."""
        with self._lock:
            for _ in range(_NUM_THREADS):
                self._start_thread()

    def compile(self, format: AnswerFormat, done: Done) -> None:
        """Makes a matcher of a format; `done` is called with it, or with what is wrong."""
        if (kept := self._kept.get(format)) is not None:
            done(kept)
            return
        self._work.put(_Work(format, done))
        with self._lock:
            refused = self._take_back_if_stuck()
        _refuse(refused)

    def stop(self) -> None:
        """Waits for the threads to end, which first do what was asked of them."""
        with self._lock:
            threads = list(self._threads)
        for _ in threads:
            self._work.put(None)
        for thread in threads:
            thread.join(_END_SECONDS)

    def _start_thread(self) -> None:
        # With the lock, since the size of stacks is the process's.
        thread = threading.Thread(target=self._run, name="compiler", daemon=True)
        usual = threading.stack_size(_STACK_BYTES)
        try:
            thread.start()
        finally:
            threading.stack_size(usual)
        self._threads.add(thread)

    def _run(self) -> None:
        thread = threading.current_thread()
        while (work := self._work.get()) is not None:
            watch = threading.Timer(self._seconds, self._overrun, (work, thread))
            watch.daemon = True
            watch.start()
            result = self._matcher(work.format)
            watch.cancel()
            with self._lock:
                in_time, work.told = not work.told, True
                if work.replaced:
                    self._num_replaced -= 1
                    return
                self._threads.add(thread)
            if in_time:
                work.done(result)

    def _overrun(self, work: _Work, thread: threading.Thread) -> None:
        """Refuses what takes too long, and puts another thread in the place of the one at work."""
        with self._lock:
            if work.told:
                return
            work.told = True
            self._threads.discard(thread)
            if self._num_replaced < _MAX_REPLACED:
                self._num_replaced += 1
                work.replaced = True
                self._start_thread()
            refused = self._take_back_if_stuck()
        work.done(
            InvalidArgumentError(
                f"{work.format.field} takes more than {self._seconds:g} seconds to compile: make "
                "it smaller or simpler"
            )
        )
        _refuse(refused)

    def _take_back_if_stuck(self) -> list[_Work]:
        """Returns all that waits if every thread is at work on what was refused already."""
        taken: list[_Work] = []
        if self._threads or self._num_replaced < _MAX_REPLACED:
            return taken
        with contextlib.suppress(queue.Empty):
            while True:
                if (work := self._work.get_nowait()) is not None:
                    taken.append(work)
        return taken

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


def _refuse(works: Iterable[_Work]) -> None:
    for work in works:
        work.done(CompilerBusyError("formats of other requests take too long: try again later"))

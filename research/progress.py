"""Showing how far a long run is, and keeping what it has done so that it can go on later."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

OnDone = Callable[[int], None]
"""Takes how many of the things to do are done."""

LOG_SECONDS = 30.0
"""How often a log file is told how far something is."""

_KEY_BYTES = 16


def ignore_progress(done: int) -> None:
    """Shows nothing."""


@contextmanager
def progress_bar(
    title: str, total: int, clock: Callable[[], float] = time.monotonic
) -> Iterator[OnDone]:
    """Shows how far something is on standard error, and gives what says how far.

    On a terminal it is a bar. In a log file it is a line at most every `LOG_SECONDS`, so that what
    is done sooner says nothing.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield _logged(title, total, clock)
        return
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=total)
        yield lambda done: progress.update(task, completed=done)


def _logged(title: str, total: int, clock: Callable[[], float]) -> OnDone:
    begun = said = clock()

    def log(done: int) -> None:
        nonlocal said
        if clock() - said >= LOG_SECONDS:
            said = clock()
            print(f"{title}: {done} of {total}, {said - begun:.0f} s", file=sys.stderr, flush=True)

    return log


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An answer as the store keeps it."""

    response_ids: tuple[int, ...]
    text: str
    ended: bool


def digest(*parts: Any) -> str:
    """Names what a result depends on: the same for equal parts, which must be JSON values."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=_KEY_BYTES).hexdigest()


class AnswerStore:
    """The finished answers and scores of a run: a JSON line for each, written at once.

    A run that is cut off leaves at worst half a line at the end, which the next run takes away.
    Keys are digests of everything that an answer or score depends on, so what no longer fits is
    simply not found. The file and its folder are made when the first line is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._answers: dict[str, StoredAnswer] = {}
        self._scores: dict[str, float | None] = {}
        self._file: TextIO | None = None
        self._load()

    def __enter__(self) -> AnswerStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """The number of stored answers."""
        return len(self._answers)

    def answer(self, key: str) -> StoredAnswer | None:
        """Returns the answer of a key, if it is finished."""
        return self._answers.get(key)

    def add_answer(self, key: str, answer: StoredAnswer) -> None:
        """Keeps a finished answer."""
        self._answers[key] = answer
        self._write(
            {
                "answer": key,
                "response_ids": list(answer.response_ids),
                "text": answer.text,
                "ended": answer.ended,
            }
        )

    def has_score(self, key: str) -> bool:
        """Whether a judge has judged, be it that no score could be read."""
        return key in self._scores

    def score(self, key: str) -> float | None:
        """Returns a score.

        Raises:
            KeyError: There is none: see `has_score`.
        """
        return self._scores[key]

    def add_score(self, key: str, score: float | None) -> None:
        """Keeps a judge's score; `None` is one that could not be read."""
        self._scores[key] = score
        self._write({"score": key, "value": score})

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _load(self) -> None:
        if not self.path.is_file():
            return
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            with self.path.open("r+b") as file:
                file.truncate(len(whole))
        for line in whole.splitlines():
            # What another program has put there is not ours to read.
            try:
                self._take(json.loads(line))
            except (ValueError, LookupError, TypeError, AttributeError):
                continue

    def _take(self, record: Mapping[str, Any]) -> None:
        if "answer" in record:
            self._answers[str(record["answer"])] = StoredAnswer(
                tuple(int(token) for token in record["response_ids"]),
                str(record["text"]),
                bool(record["ended"]),
            )
        else:
            value = record["value"]
            self._scores[str(record["score"])] = None if value is None else float(value)

    def _write(self, record: Mapping[str, Any]) -> None:
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a", encoding="utf-8")
        # ASCII, so that a piece of a character in an answer's text cannot break the file.
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

"""Files of JSON that say who may do what: read at the start, and again whenever they change.

JSON rather than YAML: a rule that is given twice, or a name that looks like a number, is an error
here and never another rule.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

_logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_BYTES = 16 * 2**20
"""Of a file: some 100,000 keys."""


class ConfigurationError(Exception):
    """What a file or a variable says cannot be used."""


class WatchedFile(Generic[T]):
    """A file's value, which is replaced when the file changes to something that can be used.

    Args:
        path: The file, of at most `MAX_BYTES`.
        parse: Makes a value of its text, or raises a `ConfigurationError`.

    Raises:
        ConfigurationError: The file cannot be used to begin with.
    """

    def __init__(self, path: Path, parse: Callable[[str], T]) -> None:
        self._path = path
        self._parse = parse
        self._seen = self._read()
        self._problem = ""
        self._is_usable = True
        self.value = self._parsed(self._seen)

    @property
    def is_stale(self) -> bool:
        """Whether the file is gone or broken, so that what was read before is in force."""
        return bool(self._problem)

    def refresh(self) -> None:
        """Looks at the file; one that is gone or broken is logged, and changes nothing.

        Its content is compared, since a file may change twice within what its time can tell.
        """
        try:
            content = self._read()
            if content != self._seen:
                self._seen = content
                self._is_usable = False
                self.value = self._parsed(content)
                _logger.warning("a file was read again", extra={"file": str(self._path)})
                self._is_usable = True
            if self._is_usable:
                self._problem = ""
        except ConfigurationError as error:
            self._complain(str(error))
        except Exception as error:
            # Whatever a file says, the next one has to be read: it may take a key away.
            _logger.exception("a file could not be read again", extra={"file": str(self._path)})
            self._complain(f"{self._path} cannot be used: {type(error).__name__}")

    def _read(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise ConfigurationError(f"{self._path} cannot be read: {error.strerror}") from error
        if len(content) > MAX_BYTES:
            raise ConfigurationError(f"{self._path} has more than {MAX_BYTES} bytes")
        return content

    def _parsed(self, content: bytes) -> T:
        try:
            return self._parse(content.decode())
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"{self._path} is not UTF-8") from error
        except ConfigurationError as error:
            raise ConfigurationError(f"{self._path}: {error}") from error

    def _complain(self, problem: str) -> None:
        # Once, although it is looked at again and again.
        if problem != self._problem:
            self._problem = problem
            _logger.error("what was read before stays in force", extra={"reason": problem})


def parse_json(text: str, kind: TypeAdapter[T]) -> T:
    """Returns what JSON says.

    Raises:
        ConfigurationError: It is not. The message names places, never values: one may be a key
            that somebody has written where its hash belongs.
    """
    try:
        return kind.validate_python(json.loads(text, object_pairs_hook=_without_duplicates))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'the whole'}: {problem['msg']}"
            for problem in error.errors()
        )
        raise ConfigurationError(problems) from None
    except RecursionError:
        raise ConfigurationError("nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"not valid JSON, in line {error.lineno}: {error.msg}") from None
    except ValueError:
        # Python takes no integers of more digits than a few thousand.
        raise ConfigurationError("a number has too many digits") from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ConfigurationError(f"a name is given twice, among {', '.join(found)}")
    return found

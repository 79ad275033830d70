"""Errors of the model server in terms of what the client has sent.

A field reaches the model server as a tensor of another name, or as a part of one, and that name is
what the model server's messages say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from gateway.errors import InvalidRequestError

FieldNames = Mapping[str, str]
"""What the client calls a place, by what the model server calls it, such as `messages[0]`."""

BODY_NAMES: FieldNames = {"text_input": "prompt", "stop_words": "stop"}
"""What the bodies of both APIs call fields."""

_PLACE = re.compile(r"(?<![\w.'\"`])[a-z]\w*(?:\.\w+|\[\d+\])*")
_STEP = re.compile(r"\.|\[|$")
_NO_WORD = re.compile(r"[_.\[]")


def renamed(error: InvalidRequestError, names: FieldNames) -> InvalidRequestError:
    """Returns an error whose message says the client's names.

    A message begins with the place that it is about, and can name others further on. What is a word
    of English there, as `format` is, is taken for one.

    Args:
        error: The error.
        names: The client's names; what is inside a place has the place's.
    """

    def named(found: re.Match[str]) -> str:
        place = found[0]
        if found.start() and not _NO_WORD.search(place):
            return place
        for end in reversed([step.start() for step in _STEP.finditer(place)]):
            if (name := names.get(place[:end])) is not None:
                return name + place[end:]
        return place

    message = _PLACE.sub(named, error.message)
    return error if message == error.message else type(error)(message, error.detail)

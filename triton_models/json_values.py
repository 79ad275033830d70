"""How much JSON holds, told before it is parsed.

Parsing and validating hold Python's interpreter for a time that grows with the values of a text
rather than with its bytes: a megabyte of `[],` is 350,000 lists, a megabyte of prose one string.
"""

from __future__ import annotations

import sys

_PIECE = 2**18
"""Characters that are looked at in one go, while no other thread runs."""


def exceeds(text: str, marks: str, most: int, most_text: int = sys.maxsize) -> bool:
    """Whether JSON has too many strings, too many of some other values, or too much text.

    Args:
        text: What may be JSON; what follows a syntax error may be counted wrongly.
        marks: Characters that each stand for one of the other values, outside of strings.
        most: The most strings, and the most marks.
        most_text: The most characters of all strings together.
    """
    if len(text) <= min(most, most_text):
        return False
    quotes = values = length = 0
    backslash = ""
    for start in range(0, len(text), _PIECE):
        piece = backslash + text[start : start + _PIECE]
        # An escape that the end of the piece would cut in two belongs to the next.
        backslash = "\\" * ((len(piece) - len(piece.rstrip("\\"))) % 2)
        plain = piece.removesuffix(backslash).replace("\\\\", "").replace('\\"', "")
        # Strings begin and end with a quotation mark, so every other part is outside of them.
        parts = plain.split('"')
        outside = "".join(parts[quotes % 2 :: 2])
        values += sum(outside.count(mark) for mark in marks)
        length += len(piece) - len(outside)
        quotes += len(parts) - 1
        if quotes > 2 * most or values > most or length > most_text:
            return True
    return False

"""What JSON holds is told as the parser finds it, wherever it is cut into pieces."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from triton_models import json_values
from triton_models.json_values import exceeds

STRINGS = ["", "[{,", '"', "\\", '\\"[', "\\\\", "null true", "é[", 'a"[b"{']


def some_json(source: random.Random, depth: int = 0) -> Any:
    kind = source.randrange(5 if depth < 4 else 3)
    if kind == 0:
        return source.choice(STRINGS)
    if kind < 3:
        return source.choice([0, -1.5e300, None, True, False])
    values = [some_json(source, depth + 1) for _ in range(source.randrange(5))]
    return (
        values if kind == 3 else {f"{i}{source.choice(STRINGS)}": v for i, v in enumerate(values)}
    )


def strings_and_lists(value: Any) -> tuple[int, int]:
    if isinstance(value, str):
        return 1, 0
    if not isinstance(value, (list, dict)):
        return 0, 0
    parts = value if isinstance(value, list) else [*value.keys(), *value.values()]
    counts = [strings_and_lists(part) for part in parts]
    return sum(count[0] for count in counts), 1 + sum(count[1] for count in counts)


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 2**18])
def test_values_are_counted_outside_of_strings(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_values, "_PIECE", piece)
    source = random.Random(piece)
    for _ in range(300):
        value = some_json(source)
        text = json.dumps(value, ensure_ascii=source.random() < 0.5)
        strings, lists = strings_and_lists(value)
        most = max(strings, lists)
        assert not exceeds(text, "[{", most)
        assert most == 0 or exceeds(text, "[{", most - 1)


def test_text_is_counted_inside_of_strings() -> None:
    text = json.dumps(["abc", "\\", 1234567890])
    assert not exceeds(text, "", 2, len('"abc""\\\\"'))
    assert exceeds(text, "", 2, len('"abc"'))

"""What is said of the traits once the servers serve."""

from __future__ import annotations

from typing import Any

import pytest

from launcher.banner import traits_line

OTHER_WIDTH = {"source": "racism.json", "reason": "it was made for another model (a)"}


@pytest.mark.parametrize(
    ("traits", "problems", "line"),
    [
        (["flattery", "sarcasm"], [], "flattery, sarcasm"),
        (
            [f"t{number}" for number in range(12)],
            [],
            "t0, t1, t2, t3, t4, t5, t6, t7, t8, t9 and 2 more",
        ),
        ([], [], "none"),
        (
            [],
            [OTHER_WIDTH] * 7,
            "none  (7 of the vector files cannot be used; "
            "racism.json: it was made for another model (a))",
        ),
    ],
)
def test_the_traits_are_named_and_what_is_wrong_with_files(
    traits: list[str], problems: list[dict[str, Any]], line: str
) -> None:
    assert traits_line({"traits": dict.fromkeys(traits), "problems": problems}) == line

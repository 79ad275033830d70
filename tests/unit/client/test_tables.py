"""Tables of answers, as other programs read them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from persona_client.cli import tables


def written(path: Path, row: dict[str, object]) -> list[list[str]]:
    tables.write(path, [row])
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("text", ["=HYPERLINK()", "+1", "-1", "@a", "\t=1", "\r=1", "\n=1"])
def test_no_spreadsheet_runs_what_a_table_says(text: str, tmp_path: Path) -> None:
    assert written(tmp_path / "a.csv", {"response": text}) == [["response"], [f"'{text}"]]
    assert written(tmp_path / "a.csv", {text: "a"}) == [[f"'{text}"], ["a"]]


def test_other_texts_and_numbers_are_as_they_are(tmp_path: Path) -> None:
    row = {"text": "a=1", "quoted": "'a", "score": -0.5, "seed": 3, "error": None, "steered": True}
    expected = ["a=1", "'a", "-0.5", "3", "", "True"]
    assert written(tmp_path / "a.csv", row) == [list(row), expected]


def test_a_row_may_lack_a_column(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    tables.write(path, [{"a": 1}, {"b": 2}])
    assert path.read_text().split() == ["a,b", "1,", ",2"]

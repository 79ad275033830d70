"""The tables and the plot of what bounds and conditions do."""

from __future__ import annotations

from pathlib import Path

from persona_demo.operations import ConditionSummary, LimitSummary, WaySummary
from persona_demo.operations_report import measured_section, plot
from persona_demo.report import update_page
from persona_demo.traits import TRAITS

WAYS = {trait: {"asked": WaySummary(1.0, 0.9), "bounded": WaySummary(0.1, 1)} for trait in TRAITS}


def test_the_tables_have_every_trait_and_every_way() -> None:
    conditions = {trait: ConditionSummary(11, 9, 8) for trait in TRAITS}
    limits = {trait: LimitSummary(12, 1, 3) for trait in TRAITS}
    section = measured_section(WAYS, conditions, limits, 12)
    assert "| trait | asked | bounded |" in section
    for trait in TRAITS:
        assert f"| {trait} | 1.00 / 0.90 | 0.10 / 1.00 |" in section
        assert f"| {trait} | 11 | 9 | 8 |" in section
        assert f"| {trait} | 12 | 1 | 3 |" in section


def test_each_part_of_a_page_has_markers_of_its_own(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    first = "<!-- measured: begin -->\none\n<!-- measured: end -->\n"
    page.write_text(f"{first}<!-- more: begin -->\nold\n<!-- more: end -->\n")
    update_page(page, "new", "more")
    assert page.read_text() == f"{first}<!-- more: begin -->\nnew\n<!-- more: end -->\n"


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    plot(WAYS, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")

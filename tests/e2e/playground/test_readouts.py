"""What watched traits show at each token is drawn while the answer is written, and in a table."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from playwright.sync_api import Locator, expect

from launcher.stack import Stack
from tests.e2e.held_engine import BEGINNING, held_engine, num_open
from tests.e2e.playground.page import MINUS, PROMPT, Playground
from tests.e2e.waiting import eventually

LABEL = "sarcasm +2"


def table(card: Locator) -> list[list[str]]:
    """The table of an answer's tokens."""
    card.get_by_text("Projection of each token").click()
    rows = card.locator(".readouts tbody tr")
    expect(rows.first).to_be_visible()  # they are made once it has opened
    return [row.locator("td").all_text_contents() for row in rows.all()]


def num_points(card: Locator) -> int:
    """How many points the curve of an answer has."""
    points = card.locator(".sparkline .after").get_attribute("points") or ""
    return len(points.split())


def test_each_token_is_shown_as_the_api_has_it(playground: Playground, api: httpx.Client) -> None:
    body = {
        "prompt": PROMPT,
        "system_prompt": "Be kind.",
        "temperature": 0,
        "monitor": ["sarcasm"],
        "monitor_tokens": True,
        "steerings": [{"traits": [{"name": "sarcasm", "scalar": 2}]}],
    }
    (expected,) = api.post("/api/v1/compare", json=body).json()["answers"]
    playground.page.locator(".system summary").click()
    playground.page.get_by_label("System prompt", exact=True).fill("Be kind.")
    playground.ask()
    playground.run()
    card = playground.card(LABEL)
    read: list[dict[str, Any]] = [
        {"token": token["token"], **block}
        for token in expected["token_readouts"]
        for block in token["readouts"].get("sarcasm", {}).values()
    ]
    rows = table(card)
    assert [row[:2] for row in rows] == [["sarcasm", each["token"]] for each in read]
    for row, each in zip(rows, read, strict=True):
        shown = [float(cell.replace(MINUS, "-")) for cell in row[2:]]
        wanted = [each["before"], each["after"], each["percentile"]]
        assert all(abs(one - other) < 0.2 for one, other in zip(shown, wanted, strict=True))
    assert num_points(card) == len(read)
    turns = card.locator(".turns")
    for role in ("system", "user"):
        expect(turns).to_contain_text(f"{role} sarcasm ")
    value = card.locator(".curve .value")
    expect(value).to_contain_text(f"→ {rows[-1][3]}")
    card.locator(".sparkline").hover(position={"x": 1, "y": 5})
    expect(value).to_contain_text(f"“{read[0]['token']}” {rows[0][2]} → {rows[0][3]}")
    assert playground.complaints == []


def test_the_curves_grow_while_the_answers_are_written(
    playground: Playground, stack: Stack
) -> None:
    playground.ask()
    card = playground.card(LABEL)
    with held_engine(stack.triton) as engine:
        playground.page.get_by_role("button", name="Run", exact=True).click()
        assert eventually(lambda: num_open(stack.settings.grpc_address) == 2)
        engine.steps(BEGINNING)
        expect(card.locator(".sparkline .after")).to_be_attached()
        first = num_points(card)
        expect(card).to_have_attribute("aria-busy", "true")
    expect(playground.page.locator("#compare-status")).to_contain_text("seed")
    assert eventually(lambda: num_points(card) > first)


@pytest.mark.parametrize(
    ("choice", "monitor"),
    [("steered", ["sarcasm", "flattery"]), ("racism", ["racism"]), ("", None)],
)
def test_what_is_watched_can_be_chosen(
    playground: Playground, choice: str, monitor: list[str] | None
) -> None:
    page = playground.page
    page.locator(".area-rules summary").click()
    page.get_by_role("button", name="Add a bound").click()
    bound = page.get_by_role("group", name="Bound", exact=True)
    bound.get_by_label("Kind").select_option("ablate")
    bound.get_by_label("Trait").select_option("flattery")
    page.get_by_label("Watch").select_option(choice)
    playground.ask(**{"Max tokens": "3"})
    with page.expect_request("**/api/v1/compare") as asked:
        playground.run()
    assert json.loads(asked.value.post_data or "").get("monitor") == monitor
    curves = page.locator(".answer").first.locator(".curve .trait-name")
    assert curves.all_inner_texts() == (monitor or [])

"""What is in the form is in the page's address, and answers leave the page as files."""

from __future__ import annotations

import csv
import json
from typing import Any

import httpx
from playwright.sync_api import expect

from tests.e2e.playground.page import PROMPT, Playground


def state(playground: Playground) -> dict[str, Any]:
    """Everything in the form."""
    found: dict[str, Any] = playground.page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll(
             "main :is(input, select, textarea)")].map((field) => [field.id || field.ariaLabel,
             field.type === "checkbox" ? field.checked : field.value]))"""
    )
    return found


def fill(playground: Playground) -> None:
    page = playground.page
    playground.ask("Ünd #2 & 50 % = ?\nnext", Temperature="0.3", Seed="7", Layers="0-2")
    page.locator(".system summary").click()
    page.get_by_label("System prompt", exact=True).fill("Be kind.")
    page.get_by_label("flattery, exact scalar").fill("-0.5")
    page.get_by_label("sarcasm, exact scalar").fill("0")
    page.get_by_label("also the opposite way").check()
    page.locator(".area-rules summary").click()
    page.get_by_role("button", name="Add a bound").click()
    bound = page.get_by_role("group", name="Bound", exact=True)
    bound.get_by_label("Trait").select_option("racism")
    bound.get_by_label("Value").fill("12.5")
    page.get_by_label("Vary").select_option("floor")
    page.get_by_label("Values").fill("1, 2")


def test_a_link_and_a_reload_have_all_of_the_form(playground: Playground) -> None:
    page = playground.page
    fill(playground)
    whole = state(playground)
    page.get_by_role("button", name="Copy link").click()
    expect(page.locator("#link-copied")).to_have_text("Copied")
    link = page.evaluate("navigator.clipboard.readText()")
    page.reload()
    expect(page.get_by_role("group", name="Bound", exact=True)).to_be_visible()
    assert state(playground) == whole
    other = page.context.new_page()
    other.goto(link)
    expect(other.get_by_role("group", name="Bound", exact=True)).to_be_visible()
    assert state(Playground(other, playground.url)) == whole
    assert playground.complaints == []


def test_a_link_that_is_opened_in_the_same_tab_is_followed(playground: Playground) -> None:
    link = f'{playground.url}/#prompt=Another&traits={{"flattery":1}}'
    playground.page.goto(link)
    expect(playground.page.get_by_label("Prompt", exact=True)).to_have_value("Another")
    expect(playground.slider("flattery")).to_have_value("1")
    expect(playground.slider("sarcasm")).to_have_value("0")


def test_a_damaged_link_is_an_empty_form_at_worst(playground: Playground) -> None:
    page = playground.page
    page.goto(f"{playground.url}/?#traits=[1&operations=[null,5]&temperature=&sweep-kind=x")
    expect(page.locator(".trait").first).to_be_visible()
    expect(page.get_by_role("group", name="Bound", exact=True)).to_have_count(2)
    expect(page.get_by_label("Temperature")).to_have_value("")
    assert playground.complaints == []


def test_the_key_is_not_in_the_address(playground: Playground) -> None:
    page = playground.page
    page.get_by_role("button", name="API key").click()
    page.get_by_label("API key", exact=True).fill("secret-key")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Copy link").click()
    expect(page.locator("#link-copied")).to_have_text("Copied")
    assert "secret" not in page.url


def test_answers_and_sweeps_leave_as_csv(playground: Playground, api: httpx.Client) -> None:
    page = playground.page
    playground.ask(Values="-1, 1", Seed="3", **{"Max tokens": "9"})
    playground.run()
    playground.run("Run sweep")
    tables = []
    for button in page.get_by_role("button", name="CSV").all():
        with page.expect_download() as download:
            button.click()
        with open(download.value.path(), newline="", encoding="utf-8") as file:
            tables.append(list(csv.DictReader(file)))
    compared, swept = tables
    steering = {"traits": [{"name": "sarcasm", "scalar": 2}], "positions": "all"}
    assert [row["answer"] for row in compared] == ["baseline", "sarcasm +2"]
    assert json.loads(compared[1]["steering"]) == steering
    body = {"prompt": PROMPT, "temperature": 0, "seed": 3, "max_tokens": 9}
    answer = api.post("/api/v1/generate", json={**body, "steering": steering}).json()
    assert compared[1]["response"] == answer["response"]
    assert (compared[1]["finish_reason"], compared[1]["tokens"]) == ("length", "9")
    assert [(row["varied"], row["value"]) for row in swept] == [
        ("scalar of sarcasm", "-1"),
        ("scalar of sarcasm", "1"),
    ]
    assert [row["prompt"] for row in swept] == [PROMPT, PROMPT]
    vector = api.get("/api/v1/traits/sarcasm").json()["sha256"]
    for row in (*compared, *swept):
        assert (row["seed"], row["model"]) == ("3", api.get("/status").json()["model"])
        assert json.loads(row["vectors"]) == {"sarcasm": vector}
    assert all(float(row["score"]) for row in swept)


def test_no_spreadsheet_runs_what_a_file_says(playground: Playground) -> None:
    page = playground.page
    asked = ("=HYPERLINK()", "+1", "-1", "@a", "\t=1", "\r=1", "\n=1", "a=1", " =1", "'a")
    table = [
        {"text": text, "number": -0.5, "nothing": None, "steering": {"a": 1}} for text in asked
    ]
    with page.expect_download() as download:
        page.evaluate(
            "async (rows) => (await import('./playground/csv.js')).download('a.csv', rows)", table
        )
    with open(download.value.path(), newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert [row["text"] for row in found] == [*(f"'{text}" for text in asked[:7]), *asked[7:]]
    assert {(row["number"], row["nothing"], row["steering"]) for row in found} == {
        ("-0.5", "", '{"a":1}')
    }

"""Bounds, conditions, windows and limits of the playground are those of the API."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from playwright.sync_api import Locator, expect

from tests.e2e.playground.page import PROMPT, Playground


def add_bound(playground: Playground, **fields: str) -> Locator:
    """Adds a bound with the keyboard's help alone, and returns it."""
    page = playground.page
    rules = page.locator(".area-rules")
    if rules.get_attribute("open") is None:
        rules.locator("summary").press("Enter")
    page.get_by_role("button", name="Add a bound").press("Enter")
    bound = page.get_by_role("group", name="Bound", exact=True).last
    expect(bound.get_by_label("Kind")).to_be_focused()
    for label, value in fields.items():
        field = bound.get_by_label(label, exact=True)
        if label in ("Kind", "Trait", "Unit"):
            field.select_option(value)
        else:
            field.fill(value)
    return bound


def answers(api: httpx.Client, path: str, **body: Any) -> list[dict[str, Any]]:
    response = api.post(path, json={"prompt": PROMPT, "temperature": 0, **body})
    found: list[dict[str, Any]] = response.json()["answers"]
    return found


def test_what_is_asked_for_is_what_the_api_answers(
    playground: Playground, api: httpx.Client
) -> None:
    playground.page.get_by_label("flattery, exact scalar").fill("1")
    add_bound(playground, Kind="cap", Trait="sarcasm", Value="20", Strength="0.9", Layers="1-2")
    add_bound(playground, Kind="ablate", Trait="flattery")
    add_bound(playground, Kind="floor", Trait="helpfulness", Value="-5", Unit="raw")
    for label, option in (("When", "sarcasm"), ("is", "below"), ("Steer", "response")):
        playground.page.get_by_label(label, exact=True).select_option(option)
    given = {"Threshold": "99", "First token": "2", "Up to token": "12", "Fading over": "3"}
    playground.ask(**given)
    playground.page.locator("#layers").fill("1")
    label = (
        "flattery +1, sarcasm +2, cap sarcasm p20, ablate flattery, floor helpfulness -5, "
        "when sarcasm below p99, from 2 to 12"
    )
    playground.run()
    steering = {
        "traits": [{"name": "flattery", "scalar": 1}, {"name": "sarcasm", "scalar": 2}],
        "layers": [1],
        "positions": "response",
        "operations": [
            {
                "trait": "sarcasm",
                "kind": "cap",
                "value": 20,
                "unit": "percentile",
                "strength": 0.9,
                "layers": [1, 2],
            },
            {"trait": "flattery", "kind": "ablate"},
            {"trait": "helpfulness", "kind": "floor", "value": -5},
        ],
        "when": {"trait": "sarcasm", "below": 99, "unit": "percentile"},
        "window": {"from": 2, "to": 12, "fade": 3},
    }
    (expected,) = answers(api, "/api/v1/compare", steerings=[steering])
    assert expected["label"] == label
    assert playground.text(label) == expected["response"]
    expect(playground.card(label).locator(".facts")).to_contain_text(
        f"met at {expected['condition']['met']} of {expected['condition']['tokens']} tokens"
    )
    summary = playground.page.locator(".area-rules summary")
    expect(summary).to_contain_text("3 bounds, a condition, a window")
    assert playground.complaints == []


def test_a_removed_bound_bounds_nothing(playground: Playground, api: httpx.Client) -> None:
    bound = add_bound(playground, Kind="ablate", Trait="sarcasm")
    bound.get_by_role("button", name="Remove").press("Enter")
    expect(playground.page.get_by_role("button", name="Add a bound")).to_be_focused()
    playground.ask()
    playground.run()
    traits = [{"name": "sarcasm", "scalar": 2}]
    (expected,) = answers(api, "/api/v1/compare", steerings=[{"traits": traits}])
    assert playground.text("sarcasm +2") == expected["response"]


def test_a_sweep_goes_over_the_values_of_a_bound(playground: Playground, api: httpx.Client) -> None:
    page = playground.page
    add_bound(playground, Kind="ablate", Trait="flattery")
    page.get_by_label("Vary").select_option("cap")
    expect(page.get_by_label("Values")).to_have_value("1, 5, 10, 25, 50, 75, 90, 99")
    page.get_by_label("in", exact=True).select_option("raw")
    assert "0" in page.get_by_label("Values").input_value().split(", ")
    playground.ask(Values="5, 10, 20")
    playground.run("Run sweep")
    expected = answers(
        api,
        "/api/v1/sweep",
        operation={"trait": "sarcasm", "kind": "cap"},
        values=[5, 10, 20],
        steering={
            "traits": [{"name": "sarcasm", "scalar": 2}],
            "operations": [{"trait": "flattery", "kind": "ablate"}],
        },
    )
    shown = page.locator("#sweep-rows td:last-child").all_text_contents()
    assert shown == [answer["response"] for answer in expected]
    expect(page.get_by_role("img", name="Score by cap of sarcasm")).to_be_visible()


def test_a_limit_ends_the_answer_and_says_so(playground: Playground, api: httpx.Client) -> None:
    page = playground.page
    page.locator(".area-rules summary").click()
    page.get_by_role("button", name="Add a limit").click()
    limit = page.get_by_role("group", name="Limit", exact=True)
    limit.get_by_label("Trait").select_option("sarcasm")
    limit.get_by_label("Threshold").fill("99")
    limit.get_by_label("Tokens in a row").fill("2")
    playground.ask()
    playground.run()
    label = "sarcasm +2, stop at sarcasm above p99 for 2 tokens"
    steering = {
        "traits": [{"name": "sarcasm", "scalar": 2}],
        "limits": [{"trait": "sarcasm", "above": 99, "unit": "percentile", "over": 2}],
    }
    (expected,) = answers(api, "/api/v1/compare", steerings=[steering])
    assert expected["label"] == label
    assert expected["finish_reason"] == "trait_limit"
    assert playground.text(label) == expected["response"]
    token = expected["limits_reached"][0]["token"]
    warning = playground.card(label).locator(".warnings")
    expect(warning).to_contain_text(f"Token {token} reached the limit sarcasm above p99: ")
    expect(playground.card(label).locator(".facts")).to_contain_text("trait_limit")
    expect(page.locator(".area-rules summary")).to_contain_text("1 limit")


@pytest.mark.parametrize(
    ("fields", "label", "message"),
    [
        ({"Value": ""}, "Value", "Value must be a number."),
        ({"Value": "101"}, "Value", "A percentile must be from 0 to 100."),
        ({"Kind": "ablate", "Value": "3"}, "Value", "Value must be empty: ablate removes all"),
        ({"Value": "3", "Strength": "2"}, "Strength", "Strength must be a number from 0 to 1."),
        ({"Value": "3", "Layers": "2-1"}, "Layers", "Layers must be blocks from 0, such as 1 or"),
    ],
)
def test_a_field_that_cannot_be_used_says_so_itself(
    playground: Playground, fields: dict[str, str], label: str, message: str
) -> None:
    bound = add_bound(playground, **fields)
    playground.page.get_by_role("button", name="Run", exact=True).click()
    field = bound.get_by_label(label, exact=True)
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-invalid", "true")
    note = playground.page.locator(f"#{field.get_attribute('aria-errormessage')}")
    expect(note).to_contain_text(message)
    assert note.get_attribute("role") == "alert"


def test_what_only_the_server_can_refuse_is_said_by_the_field(playground: Playground) -> None:
    page = playground.page
    page.locator(".area-rules summary").click()
    playground.ask(**{"First token": "5", "Up to token": "2"})
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_label("Up to token")).to_be_focused()
    expect(page.get_by_role("alert")).to_contain_text("to is the first token after it")
    playground.ask(**{"Up to token": ""})
    playground.run()
    expect(page.get_by_role("alert")).to_have_count(0)

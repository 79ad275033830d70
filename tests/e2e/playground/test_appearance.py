"""Themes, narrow windows, accessibility rules and screen readers."""

from __future__ import annotations

import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.e2e.playground.page import Playground, refusing


def background(page: Page) -> tuple[int, ...]:
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return tuple(int(part) for part in re.findall(r"\d+", colour)[:3])


def test_the_theme_is_the_system_s_until_another_is_chosen(playground: Playground) -> None:
    page = playground.page
    toggle = page.get_by_role("button", name="Dark mode")
    page.emulate_media(color_scheme="light")
    assert min(background(page)) > 200
    page.emulate_media(color_scheme="dark")
    assert max(background(page)) < 60
    expect(toggle).to_have_attribute("aria-pressed", "true")
    toggle.click()
    expect(toggle).to_have_attribute("aria-pressed", "false")
    assert min(background(page)) > 200
    playground.open()
    assert min(background(page)) > 200


def open_all(page: Page) -> None:
    """Opens what can be opened, with a bound and a limit in it."""
    for summary in page.locator("summary").all():
        summary.click()
    for button in ("Add a bound", "Add a limit"):
        page.get_by_role("button", name=button).click()


@pytest.mark.parametrize("width", [360, 700, 1280])
def test_nothing_scrolls_sideways(playground: Playground, width: int) -> None:
    page = playground.page
    page.set_viewport_size({"width": width, "height": 780})
    playground.ask("word" * 100, **{"Max tokens": "30"})
    playground.run()
    playground.run("Run sweep")
    open_all(page)
    page.get_by_role("button", name="API key").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility_rules_hold_before_and_after_runs(
    playground: Playground, scheme: Any
) -> None:
    page = playground.page
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")

    def violations() -> str:
        results = Axe().run(page)
        return "" if results.violations_count == 0 else results.generate_report()

    assert violations() == ""
    playground.ask()
    playground.run()
    playground.run("Run sweep")
    open_all(page)
    page.get_by_role("button", name="API key").click()
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_role("alert")).to_have_text("Value must be a number.")
    assert violations() == ""
    for button in page.get_by_role("button", name="Remove").all()[::-1]:
        button.click()
    page.route("**/api/v1/compare", refusing(401, {"Retry-After": "60"}))
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_role("alert")).to_be_visible()
    assert violations() == ""


def test_screen_readers_hear_the_end_and_not_every_token(playground: Playground) -> None:
    page = playground.page
    playground.ask()
    playground.run()
    live = "[aria-live], [role=status], [role=alert], [role=log], output"
    assert page.locator(live).filter(has=page.locator(".answer")).count() == 0
    assert page.locator(f".answer :is({live})").count() == 0
    expect(page.get_by_role("article").first).to_have_attribute("aria-busy", "false")
    landmarks = page.locator("body").aria_snapshot()
    for part in ("banner", "main", "navigation", 'form "Request"', 'region "Answers"'):
        assert f"- {part}" in landmarks

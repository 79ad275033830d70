"""Text is never taken for HTML; refusals, keys and errors are shown."""

from __future__ import annotations

import json
import os
import re
import subprocess

import pytest
from playwright.sync_api import Route, expect

from tests.e2e.playground.page import PROMPT, Playground, refusing


def test_text_is_never_taken_for_html(playground: Playground) -> None:
    html = "<img src=x onerror=\"document.title='broken'\"><b>bold</b>"

    def answer(route: Route) -> None:
        whole = {"success": True, "response": html, "tokens_generated": 2, "finish_reason": "stop"}
        fields = {"prompt_tokens": 1, "reused_tokens": 0, "warnings": [html], "error": None}
        events = [
            ("chunk", {"index": 0, "text": html, "tokens_generated": 2}),
            ("answer", {"index": 0, **whole, **fields}),
            ("answer", {"index": 1, **whole, **fields, "success": False, "error": html}),
            ("done", {"success": False, "seed": 1, "failed": 1}),
        ]
        text = "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in events)
        route.fulfill(content_type="text/event-stream", body=text)

    playground.page.route("**/api/v1/compare", answer)
    playground.ask(html)
    playground.run()
    assert playground.text("baseline") == html
    expect(playground.card("baseline").locator(".warnings")).to_have_text(html)
    expect(playground.card("sarcasm +2").locator(".answer-error")).to_have_text(html)
    expect(playground.page.locator("#compare-curl code")).to_contain_text("<b>bold</b>")
    assert playground.page.locator("main img, main b").count() == 0
    assert "Playground" in playground.page.title()


def test_too_many_requests_says_when_to_come_back(playground: Playground) -> None:
    playground.page.route("**/api/v1/compare", refusing(429, {"Retry-After": "2"}))
    playground.page.get_by_role("button", name="Run", exact=True).click()
    expect(playground.page.get_by_role("alert")).to_have_text("Too many requests. the reason")
    expect(playground.page.locator(".error .where")).to_have_text(
        "HTTP 429 · a_code · request id-1"
    )
    again = playground.page.locator(".again")
    expect(again).to_have_text(re.compile(r"Try again in [12] s"))
    expect(again).to_be_disabled()
    playground.page.unroute("**/api/v1/compare")
    again.click()
    expect(playground.page.locator("#compare-status")).to_contain_text("seed")
    expect(playground.page.get_by_role("alert")).to_have_count(0)


@pytest.mark.parametrize("status", [401, 403])
def test_an_api_key_is_asked_for_kept_for_the_tab_and_sent(
    playground: Playground, status: int
) -> None:
    page = playground.page
    page.route("**/api/v1/compare", refusing(status, {}))
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("button", name="Enter the API key").click()
    field = page.get_by_label("API key", exact=True)
    expect(field).to_be_focused()
    field.fill("secret-key")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="API key (set)")).to_be_focused()
    assert page.evaluate("[sessionStorage.getItem('api-key'), localStorage.length]") == [
        "secret-key",
        0,
    ]
    page.unroute("**/api/v1/compare")
    with page.expect_request("**/api/v1/compare") as asked:
        page.get_by_role("button", name="Run", exact=True).click()
    assert asked.value.headers["authorization"] == "Bearer secret-key"
    command = page.locator("#compare-curl code")
    expect(command).to_contain_text('-H "Authorization: Bearer $PERSONA_API_KEY"')
    expect(command).not_to_contain_text("secret-key")
    done = subprocess.run(
        ["bash", "-c", command.text_content() or ""],
        capture_output=True,
        env={**os.environ, "PERSONA_API_KEY": "secret-key"},
        timeout=60,
    )
    assert json.loads(done.stdout)["success"] is True
    page.get_by_role("button", name="API key (set)").click()
    page.get_by_role("button", name="Forget").click()
    assert page.evaluate("sessionStorage.length") == 0


def test_errors_of_the_api_and_of_the_reader_are_shown(playground: Playground) -> None:
    page = playground.page
    alert = page.get_by_role("alert")
    playground.ask("  ")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(alert).to_contain_text("Type a prompt first.")
    expect(page.get_by_label("Prompt", exact=True)).to_be_focused()
    playground.ask(PROMPT, Temperature="3")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(alert).to_contain_text("Temperature must be a number from 0 to 2.")
    playground.ask(PROMPT, **{"Max tokens": "1000000"})
    page.get_by_role("button", name="Run", exact=True).click()
    expect(alert).to_contain_text("set max_tokens to at most")
    page.get_by_role("button", name="Set all to 0").click()
    page.get_by_role("button", name="Run", exact=True).click()
    expect(alert).to_contain_text("or a limit: all answers would be the same")
    page.context.set_offline(True)
    page.get_by_role("button", name="Run sweep").click()
    expect(alert.last).to_contain_text("The gateway cannot be reached.")
    page.context.set_offline(False)

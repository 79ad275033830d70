"""Answers while they run: their rate, and how they are stopped."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import expect

from launcher.stack import Stack
from tests.e2e.held_engine import BEGINNING, held_engine, num_cancelled, num_open
from tests.e2e.playground.page import Playground
from tests.e2e.waiting import eventually

LENGTHENED = """() => {
  const send = window.fetch;
  window.fetch = (path, options) => {
    const body = JSON.parse(options.body);
    return send(path, { ...options, body: JSON.stringify({ ...body, min_tokens: 900 }) });
  };
}"""
"""Makes answers so long that they are running when they are stopped. The page does it itself: a
route of Playwright's would wait until the test calls Playwright again."""


def test_the_rate_counts_from_the_first_piece_on(playground: Playground, stack: Stack) -> None:
    playground.ask()
    facts = playground.card("sarcasm +2").locator(".facts")
    with held_engine(stack.triton) as engine:
        playground.page.get_by_role("button", name="Run", exact=True).click()
        assert eventually(lambda: num_open(stack.settings.grpc_address) == 2)
        engine.steps(BEGINNING)
        expect(facts).to_contain_text("token")
        time.sleep(0.1)  # below a fiftieth of a second no rate is shown
    expect(facts).to_contain_text("tokens/s")


@pytest.mark.parametrize("way", ["button", "Escape"])
def test_stop_ends_the_answers_in_the_engine_too(
    playground: Playground, stack: Stack, way: str
) -> None:
    address = stack.settings.grpc_address
    playground.page.evaluate(LENGTHENED)
    playground.ask(**{"Max tokens": "900"})
    before = num_cancelled(address)
    with held_engine(stack.triton) as engine:
        playground.page.get_by_label("Prompt", exact=True).press("Control+Enter")
        assert eventually(lambda: num_open(address) == 2)
        engine.steps(BEGINNING)
        expect(playground.card("baseline").locator(".facts")).to_contain_text("token")
        if way == "button":
            playground.page.get_by_role("button", name="Stop").click()
        else:
            playground.page.keyboard.press("Escape")
        assert engine.goes_on_until(lambda: num_cancelled(address) == before + 2)
    expect(playground.page.locator("#compare-status")).to_have_text("Stopped.")
    expect(playground.card("baseline").locator(".facts")).to_contain_text("stopped")
    expect(playground.page.get_by_role("button", name="Run", exact=True)).to_be_visible()
    assert playground.complaints == []

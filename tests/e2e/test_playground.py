"""The playground in a real browser, in front of the real gateway and the real Triton."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, Route, expect, sync_playwright

from launcher.stack import Stack
from tests.e2e.held_engine import BEGINNING, held_engine, num_cancelled, num_open
from tests.e2e.waiting import eventually

CHROMIUM = shutil.which("chromium")
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PROMPT = "How do I bake bread?"
STEERED = [{"traits": [{"name": "sarcasm", "scalar": 2.0}]}]
MINUS = "\N{MINUS SIGN}"
PATIENCE_MS = 120_000

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium: apt-get install chromium"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


class Playground:
    """The page, and what it has complained about or asked for."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self._note("error", str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.set_default_timeout(PATIENCE_MS)

    def open(self) -> None:
        self.page.goto(f"{self.url}/")
        expect(self.page.locator(".trait").first).to_be_visible(timeout=PATIENCE_MS)

    def ask(self, prompt: str = PROMPT, **fields: str) -> None:
        self.page.get_by_label("Prompt", exact=True).fill(prompt)
        for label, value in {"Temperature": "0", **fields}.items():
            self.page.get_by_label(label, exact=True).fill(value)

    def run(self, name: str = "Run") -> None:
        button = self.page.get_by_role("button", name=name, exact=True)
        button.click()
        status = self.page.locator("#sweep-status" if "sweep" in name else "#compare-status")
        expect(status).to_contain_text("seed", timeout=PATIENCE_MS)

    def card(self, label: str) -> Locator:
        heading = self.page.get_by_role("heading", name=label, exact=True)
        return self.page.get_by_role("article").filter(has=heading)

    def text(self, label: str) -> str:
        return self.card(label).locator(".text").inner_text()

    def slider(self, trait: str) -> Locator:
        return self.page.get_by_role("slider", name=trait, exact=True)

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)


@pytest.fixture
def playground(browser: Browser, stack: Stack) -> Iterator[Playground]:
    context = browser.new_context(
        permissions=["clipboard-read", "clipboard-write"], reduced_motion="reduce"
    )
    playground = Playground(context.new_page(), stack.settings.gateway_url)
    playground.open()
    yield playground
    context.close()


@pytest.fixture(scope="module")
def api(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.settings.gateway_url, timeout=60) as client:
        yield client


def test_it_loads_without_complaints_and_asks_only_its_own_host(
    playground: Playground, stack: Stack
) -> None:
    playground.ask()
    playground.run()
    assert playground.complaints == []
    hosts = {urlsplit(url).netloc for url in playground.requests}
    assert hosts == {urlsplit(stack.settings.gateway_url).netloc}


def test_every_trait_has_a_slider_that_the_keyboard_moves(
    playground: Playground, api: httpx.Client
) -> None:
    traits = api.get("/api/v1/traits").json()["traits"]
    sliders = playground.page.get_by_role("slider")
    assert sliders.count() == len(traits)
    playground.page.get_by_role("button", name="Set all to 0").click()
    for name, trait in traits.items():
        slider = playground.slider(name)
        expect(slider).to_have_value("0")
        facts = playground.page.get_by_role("group", name=name, exact=True)
        layer = str(trait["selected_layers"][0])
        expect(facts).to_contain_text(f"norm {round(trait['norms'][layer], 1):g}")
        if trait["recommended_range"]:
            low, high = trait["recommended_range"]
            expect(facts).to_contain_text(f"recommended {low:g} to {high:g}".replace("-", MINUS))
        slider.focus()
        playground.page.keyboard.press("ArrowRight")
        expect(slider).to_have_value("0.1")
        exact = playground.page.get_by_label(f"{name}, exact scalar")
        expect(exact).to_have_value("0.1")
        exact.fill("-1.25")
        expect(slider).to_have_attribute("aria-valuetext", f"{MINUS}1.25")


def test_the_answers_are_those_of_the_api(playground: Playground, api: httpx.Client) -> None:
    body = {"prompt": PROMPT, "temperature": 0, "steerings": STEERED}
    expected = api.post("/api/v1/compare", json=body).json()
    playground.ask()
    playground.run()
    steered = expected["answers"][0]
    assert playground.text("baseline") == expected["baseline"]["response"]
    assert playground.text("sarcasm +2") == steered["response"]
    facts = playground.card("sarcasm +2").locator(".facts")
    expect(facts).to_contain_text(f"{steered['tokens_generated']} tokens")
    expect(facts).to_contain_text("stop")


def test_several_traits_add_up_and_the_opposite_stands_on_the_other_side(
    playground: Playground, api: httpx.Client
) -> None:
    playground.page.get_by_label("flattery, exact scalar").fill("-0.5")
    playground.page.get_by_label("also the opposite way").check()
    playground.ask(**{"Max tokens": "12"})
    playground.run()
    labels = playground.page.locator(".answer h3").all_inner_texts()
    assert labels == [
        f"flattery +0.5, sarcasm {MINUS}2",
        "baseline",
        f"flattery {MINUS}0.5, sarcasm +2",
    ]
    traits = [{"name": "flattery", "scalar": -0.5}, {"name": "sarcasm", "scalar": 2}]
    body = {"prompt": PROMPT, "temperature": 0, "max_tokens": 12, "steerings": [{"traits": traits}]}
    (expected,) = api.post("/api/v1/compare", json=body).json()["answers"]
    assert playground.text(labels[2]) == expected["response"]
    expect(playground.card(labels[2]).locator(".facts")).to_contain_text("length")


def lengthened(route: Route) -> None:
    """Makes a request's answers so long that they are running when they are stopped."""
    body = json.loads(route.request.post_data or "{}")
    route.continue_(post_data=json.dumps({**body, "min_tokens": body["max_tokens"]}))


def test_the_rate_counts_from_the_first_piece_on(playground: Playground, stack: Stack) -> None:
    playground.ask()
    facts = playground.card("sarcasm +2").locator(".facts")
    with held_engine(stack.triton) as engine:
        playground.page.get_by_role("button", name="Run", exact=True).click()
        assert eventually(lambda: num_open(stack.settings.grpc_address) == 2)
        engine.steps(BEGINNING)
        expect(facts).to_contain_text("token")
        time.sleep(0.1)  # below a fiftieth of a second no rate is shown
    expect(facts).to_contain_text("tokens/s", timeout=PATIENCE_MS)


@pytest.mark.parametrize("way", ["button", "Escape"])
def test_stop_ends_the_answers_in_the_engine_too(
    playground: Playground, stack: Stack, way: str
) -> None:
    address = stack.settings.grpc_address
    playground.page.route("**/api/v1/compare", lengthened)
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


def test_a_sweep_is_a_plot_and_a_table(playground: Playground, api: httpx.Client) -> None:
    playground.ask(**{"From": "-2", "To": "2", "Points": "5"})
    playground.run("Run sweep")
    scalars = [-2, -1, 0, 1, 2]
    body = {"prompt": PROMPT, "temperature": 0, "trait": "sarcasm", "scalars": scalars}
    expected = api.post("/api/v1/sweep", json={**body, "scores": True}).json()["answers"]
    rows = playground.page.locator("#sweep-rows tr")
    assert rows.count() == len(scalars)
    for row, answer in zip(rows.all(), expected, strict=True):
        scalar, score, tokens, text = row.locator("th, td").all_inner_texts()
        assert float(scalar.replace(MINUS, "-")) == answer["scalar"]
        assert float(score.replace(MINUS, "-")) == pytest.approx(answer["score"], abs=0.02)
        assert int(tokens) == answer["tokens_generated"]
        assert text == answer["response"]
    plot = playground.page.get_by_role("img", name="Score by scalar of sarcasm")
    expect(plot).to_be_visible()
    heights = [dot.bounding_box() for dot in plot.locator(".dot circle:not(.target)").all()]
    assert len(heights) == len(scalars)
    places = [box["y"] for box in heights if box]
    assert places == sorted(places, reverse=True)
    assert playground.complaints == []


@pytest.mark.parametrize(
    ("name", "prompt"),
    [("Run", 'It\'s "quoted" $HOME `id` \\n — !\nüber'), ("Run sweep", "What's up?")],
)
def test_the_copied_curl_command_gives_the_same_answers(
    playground: Playground, name: str, prompt: str
) -> None:
    playground.ask(prompt, Temperature="0.8", Points="3", **{"Max tokens": "8"})
    playground.run(name)
    place = "#sweep-curl" if "sweep" in name else "#compare-curl"
    playground.page.locator(f"{place} summary").click()
    playground.page.locator(place).get_by_role("button", name="Copy").click()
    expect(playground.page.locator(f"{place} .copied")).to_have_text("Copied")
    command = playground.page.evaluate("navigator.clipboard.readText()")
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    answers = json.loads(done.stdout)["answers"]
    if "sweep" in name:
        shown = playground.page.locator("#sweep-rows td:last-child").all_text_contents()
        assert shown == [answer["response"] for answer in answers]
    else:
        text = playground.card("sarcasm +2").locator(".text").text_content()
        assert text == answers[0]["response"]


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


def refusing(status: int, headers: dict[str, str]) -> Any:
    body = {"success": False, "error": "the reason", "code": "a_code", "request_id": "id-1"}

    def refuse(route: Route) -> None:
        route.fulfill(status=status, headers=headers, json=body)

    return refuse


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
    expect(alert).to_contain_text("slider: at 0 both answers would be the same")
    page.context.set_offline(True)
    page.get_by_role("button", name="Run sweep").click()
    expect(alert.last).to_contain_text("The gateway cannot be reached.")
    page.context.set_offline(False)


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


@pytest.mark.parametrize("width", [360, 700, 1280])
def test_nothing_scrolls_sideways(playground: Playground, width: int) -> None:
    page = playground.page
    page.set_viewport_size({"width": width, "height": 780})
    playground.ask("word" * 100, **{"Max tokens": "30"})
    playground.run()
    playground.run("Run sweep")
    page.locator("#compare-curl summary").click()
    page.locator("#sweep-curl summary").click()
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
    for summary in page.locator("summary").all():
        summary.click()
    page.get_by_role("button", name="API key").click()
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

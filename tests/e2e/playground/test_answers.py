"""What the page shows are the answers of the API, in front of the real Triton."""

from __future__ import annotations

import json
import subprocess
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import expect

from launcher.stack import Stack
from tests.e2e.playground.page import MINUS, PROMPT, Playground

STEERED = [{"traits": [{"name": "sarcasm", "scalar": 2.0}]}]


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


def test_a_sweep_is_a_plot_and_a_table(playground: Playground, api: httpx.Client) -> None:
    playground.ask(Values="-2, -1, 0, 1, 2")
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
    playground.ask(prompt, Temperature="0.8", Values="-1, 0, 1", **{"Max tokens": "8"})
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

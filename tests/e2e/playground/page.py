"""The playground's page, as its tests drive it."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Locator, Page, Route, expect

PROMPT = "How do I bake bread?"
MINUS = "\N{MINUS SIGN}"
PATIENCE_MS = 120_000


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
        expect(status).to_contain_text("seed")

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


def refusing(status: int, headers: dict[str, str]) -> Any:
    body = {"success": False, "error": "the reason", "code": "a_code", "request_id": "id-1"}

    def refuse(route: Route) -> None:
        route.fulfill(status=status, headers=headers, json=body)

    return refuse

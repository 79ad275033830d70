"""Content negotiation of the root: JSON, unless a client would rather have HTML."""

from __future__ import annotations

import pytest

from gateway.http.accept import prefers_html

CHROMIUM = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,"
    "*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"
)


@pytest.mark.parametrize(
    "accept",
    [
        CHROMIUM,
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "text/html",
        "TEXT/HTML;charset=utf-8",
        "text/*",
        "text/html, application/json;q=0.9",
        "text/html;q=0.2, application/json;q=0.1",
        "application/json;q=0, */*",
    ],
)
def test_browsers_and_who_says_so_prefer_html(accept: str) -> None:
    assert prefers_html(accept)


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "application/json",
        "application/*",
        "application/json, text/html",
        "application/json, text/html;q=0.9",
        "text/html;q=0",
        "text/html;q=0, */*",
        "text/html; q=0.5, */*",
        "image/png",
        ";;,,q=",
    ],
)
def test_everybody_else_does_not(accept: str) -> None:
    assert not prefers_html(accept)

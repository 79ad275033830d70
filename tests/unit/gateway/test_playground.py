"""How the playground's files are served."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from gateway.app import create_app
from gateway.settings import Settings

FOLDER = Path(__file__).resolve().parents[3] / "gateway" / "playground"
FILES = sorted(path.name for path in FOLDER.iterdir() if path.name != "index.html")
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(Settings(health_watch=False)))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield client


async def test_browsers_get_the_page_and_others_the_list_of_calls(
    http: httpx.AsyncClient,
) -> None:
    page = await http.get("/", headers=HTML)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.text == (FOLDER / "index.html").read_text()
    calls = await http.get("/")
    assert calls.request.headers["Accept"] == "*/*"
    assert calls.headers["Content-Type"] == "application/json"
    assert calls.json()["name"] == "Persona Triton"
    assert page.headers["Vary"] == calls.headers["Vary"] == "Accept"


@pytest.mark.parametrize("path", ["/", *(f"/playground/{name}" for name in FILES)])
async def test_a_file_is_sent_once_as_long_as_it_is_the_same(
    path: str, http: httpx.AsyncClient
) -> None:
    first = await http.get(path, headers=HTML)
    assert (first.status_code, first.headers["Cache-Control"]) == (200, "no-cache")
    etag = first.headers["ETag"]
    for known in (etag, f'W/{etag}, "other"', "*"):
        again = await http.get(path, headers={**HTML, "If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["ETag"] == etag
        assert again.headers.get("Vary") == first.headers.get("Vary")
    changed = await http.get(path, headers={**HTML, "If-None-Match": '"other"'})
    assert changed.content == first.content


@pytest.mark.parametrize("path", ["/", *(f"/playground/{name}" for name in FILES)])
async def test_a_file_may_do_no_more_than_it_needs(path: str, http: httpx.AsyncClient) -> None:
    headers = (await http.get(path, headers=HTML)).headers
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"


async def test_only_the_playground_s_files_are_served(http: httpx.AsyncClient) -> None:
    for name in ("nothing.js", "../app.py", "..%2fapp.py", "%2e%2e/app.py", "a%00.js", ".", "app"):
        response = await http.get(f"/playground/{name}")
        assert response.status_code == 404
        assert response.json()["success"] is False


def test_no_file_asks_another_host_or_makes_html_of_text() -> None:
    for path in FOLDER.iterdir():
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|@import", text), path.name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)
        assert not re.search(r"""\son\w+=["']|\sstyle=["']""", text), path.name

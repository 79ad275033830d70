"""The documentation's site: all pages are on it, links lead somewhere, and nothing is remote."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
import threading
from collections import Counter
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt
from playwright.sync_api import sync_playwright

from launcher.settings import ROOT

pytestmark = pytest.mark.slow  # builds the whole site

pytest.importorskip("zensical", reason="the extra 'docs' is not installed")

# A script, not a module of a package: run for what it defines.
DOCS_SITE = runpy.run_path(str(ROOT / "scripts" / "docs_site.py"))
COPIES, pages = DOCS_SITE["COPIES"], DOCS_SITE["pages"]
SITE = ROOT / "build" / "site"
CHROMIUM = shutil.which("chromium")
ADDRESSES = {
    "a": "href", "iframe": "src", "img": "src", "link": "href", "script": "src", "source": "src",
}  # fmt: skip
"""Where elements name what they lead to, or load."""

STRUCTURE = ("h1", "h2", "h3", "ul", "ol", "li", "table", "tr", "pre", "img", "blockquote")


class Html(HTMLParser):
    """What a page leads to, loads, and is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.resources: list[str] = []
        self.structure: Counter[str] = Counter()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.ids.add(attributes.get("id") or "")
        if tag in STRUCTURE:
            self.structure[tag] += 1
        if address := attributes.get(ADDRESSES.get(tag, "")):
            (self.links if tag == "a" else self.resources).append(address)


@pytest.fixture(scope="module")
def site() -> dict[Path, Html]:
    """The site's pages by their file; building it fails if a link from page to page is broken."""
    shutil.rmtree(SITE, ignore_errors=True)
    done = subprocess.run(
        [sys.executable, "scripts/docs_site.py", "build"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {path: Html(path.read_text()) for path in SITE.rglob("*.html")}


def html_of(page: Path) -> Path:
    """Returns where the site has a page, named relative to the repository."""
    name = "index" if page.stem == "README" else page.stem
    return SITE / page.parent / f"{name}.html"


def test_the_front_page_s_navigation_leads_to_every_page(site: dict[Path, Html]) -> None:
    assert {path.relative_to(ROOT) for path in (ROOT / "docs").rglob("*.md")} <= set(pages())
    reached = {(SITE / urlsplit(link).path).resolve() for link in site[SITE / "index.html"].links}
    assert {html_of(page) for page in pages()} <= reached


def test_every_link_leads_to_a_page_and_a_place_in_it(site: dict[Path, Html]) -> None:
    for path in map(html_of, pages()):
        for address in site[path].links + site[path].resources:
            parts = urlsplit(address)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.exists(), f"{path}: {address}"
            if parts.fragment and target in site:
                assert unquote(parts.fragment) in site[target].ids, f"{path}: {address}"


def test_the_site_loads_nothing_from_elsewhere(site: dict[Path, Html]) -> None:
    for path, html in site.items():
        assert html.resources
        assert [each for each in html.resources if urlsplit(each).netloc] == [], path
    sheets = list(SITE.rglob("*.css"))
    assert sheets
    for sheet in sheets:
        assert not re.search(r"@import|url\(['\"]?(https?:)?//", sheet.read_text()), sheet


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium")
def test_a_browser_searches_the_site_and_asks_no_other_host(site: dict[Path, Html]) -> None:
    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(SITE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    asked: set[str] = set()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
        page.goto(f"http://127.0.0.1:{server.server_port}/index.html")
        page.get_by_role("button", name="Search").click()
        page.keyboard.type("PersonaKVCacheFull")
        page.locator("a[href*='runbook.html#personakvcachefull']").first.wait_for()
        browser.close()
    server.shutdown()
    assert asked == {f"127.0.0.1:{server.server_port}"}


def test_pages_are_made_of_the_same_parts_as_on_a_git_host(site: dict[Path, Html]) -> None:
    """Markdown's dialects differ in what belongs to a list, which loses paragraphs or code."""
    markdown = MarkdownIt("commonmark").enable("table")
    for page in pages():
        text = re.sub(r"\A---\n.*?\n---\n", "", (COPIES / page).read_text(), flags=re.S)
        (article,) = re.findall(r"<article.*?</article>", html_of(page).read_text(), re.S)
        assert Html(article).structure == Html(markdown.render(text)).structure, page


def test_links_to_source_files_become_their_label() -> None:
    site = {Path("README.md"), Path("docs/security.md")}
    page = Path("docs/security.md")
    for text, shown in {
        "[`it`](../deploy/policy.example.json), [all](../tests)": "`it`, all",
        "[up](../README.md), [here](#keys)": "[up](../README.md), [here](#keys)",
        "[gone](../gone.md), ![image](images/steering.png)": (
            "[gone](../gone.md), ![image](images/steering.png)"
        ),
        "[there](https://example.com/a)": "[there](https://example.com/a)",
    }.items():
        assert DOCS_SITE["without_source_links"](page, text, site) == shown


def test_what_the_contributors_page_names_exists() -> None:
    named = re.findall(r"`([\w./]+)`", (ROOT / "docs" / "contributing.md").read_text())
    paths = {name for name in named if "/" in name} - {"build/site"}  # which a script makes
    for path in paths:
        assert (ROOT / path).exists() or (ROOT / "triton_models" / path).exists(), path
    files = [*ROOT.glob("[a-z]*/**/*.py"), ROOT / "scripts" / "test.sh"]
    code = "".join(path.read_text() for path in files)
    names = {name for name in named if re.search(r"_|[A-Z]", name) and not name.endswith(".py")}
    assert names - paths
    for name in {part for each in names - paths for part in each.split(".")}:
        pattern = rf'(class|def) {name}\b|^ *{name}\b.*[:=]|"{name}"|\${{{name}:'
        assert re.search(pattern, code, re.MULTILINE), name

#!/usr/bin/env python3
"""Builds the documentation's site from the repository's Markdown files, or serves it.

The pages are those of the navigation in mkdocs.yml. Zensical reads copies of them in build/docs,
laid out as the repository is, so that a link from page to page is the same on the site and on a
Git host. The site has no source files: a link to one is shown as its label alone.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from zensical.main import cli as zensical

ROOT = Path(__file__).resolve().parent.parent
COPIES = ROOT / "build" / "docs"
IMAGES = Path("docs") / "images"
LINK = re.compile(r"(?<!!)\[([^][]*)\]\(([^()\s]+)\)")


def pages() -> list[Path]:
    """Returns the files that the navigation names, relative to the repository."""
    return list(_paths(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))


def _paths(entry: Any) -> Iterator[Path]:
    if isinstance(entry, str):
        yield Path(entry)
    else:
        for child in entry.values() if isinstance(entry, dict) else entry:
            yield from _paths(child)


def without_source_links(page: Path, text: str, site: set[Path]) -> str:
    """Returns a page's text, with links to files that are not on the site turned into their label.

    Links to what does not exist stay, for Zensical to report.
    """

    def replaced(link: re.Match[str]) -> str:
        target = (ROOT / page.parent / link[2]).resolve()
        is_source = target.exists() and target.relative_to(ROOT) not in site
        return link[1] if is_source else link[0]

    return LINK.sub(replaced, text)


def copy_pages() -> None:
    """Brings the copies up to date, and writes only those that change: Zensical watches them."""
    site = pages()
    shutil.copytree(ROOT / IMAGES, COPIES / IMAGES, dirs_exist_ok=True)
    for page in site:
        text = without_source_links(page, (ROOT / page).read_text(), set(site))
        copy = COPIES / page
        if not copy.exists() or copy.read_text() != text:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(text)


def follow_edits() -> None:
    """Keeps the copies up to date for good."""
    while True:
        copy_pages()
        time.sleep(1)


def main() -> None:
    """Copies the pages, then serves the site until Ctrl-C, or builds it into build/site.

    Raises:
        SystemExit: A link of a site that is built leads nowhere; what Zensical says was printed.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["serve", "build"], nargs="?", default="serve")
    command = parser.parse_args().command
    os.chdir(ROOT)
    shutil.rmtree(COPIES, ignore_errors=True)
    copy_pages()
    if command == "serve":
        threading.Thread(target=follow_edits, daemon=True).start()
    try:
        zensical(["serve"] if command == "serve" else ["build", "--clean", "--strict"])
    except RuntimeError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

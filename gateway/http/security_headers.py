"""Headers that tell browsers and caches to be careful with answers."""

from __future__ import annotations

DOCS_PATH = "/docs"

SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of every answer that has no such header of its own, as pages do."""

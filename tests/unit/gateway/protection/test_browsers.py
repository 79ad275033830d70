"""What browsers may send, and what answers tell them and caches."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest

from tests.unit.gateway.protection_gateway import USER, Server, bearer


@pytest.mark.parametrize("path", ["/api/v1/generate", "/v1/chat/completions", "/api/v1/traits/x"])
async def test_a_browser_of_an_allowed_origin_may_send_a_key(server: Server, path: str) -> None:
    ask = {
        "Origin": "https://a.example",
        "Access-Control-Request-Method": "PUT" if "traits" in path else "POST",
        "Access-Control-Request-Headers": "authorization,x-api-key,content-type",
    }
    preflight = await server.http.options(path, headers=ask)
    assert preflight.status_code == 200
    assert preflight.headers["Access-Control-Allow-Origin"] == "https://a.example"
    allowed = preflight.headers["Access-Control-Allow-Headers"].lower()
    assert "authorization" in allowed
    assert "x-api-key" in allowed
    assert "Access-Control-Allow-Credentials" not in preflight.headers
    other = await server.http.options(path, headers={**ask, "Origin": "https://b.example"})
    assert other.status_code == 400
    assert "Access-Control-Allow-Origin" not in other.headers
    refused = await server.http.post(path, headers={"Origin": "https://a.example"})
    assert refused.status_code == 401
    assert refused.headers["Access-Control-Allow-Origin"] == "https://a.example"


async def test_answers_tell_browsers_and_caches_to_be_careful(server: Server) -> None:
    for response in (
        await server.generate(headers=bearer(USER)),
        await server.generate(),
        await server.http.get("/status", headers=bearer(USER)),
        await server.http.get("/nowhere", headers=bearer(USER)),
    ):
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["X-Frame-Options"] == "DENY"
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert "server" not in response.headers
    page = await server.http.get("/", headers={"Accept": "text/html"})
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    assert page.headers["Cache-Control"] == "no-cache"
    docs = await server.http.get("/docs")
    policy = docs.headers["Content-Security-Policy"]
    # Of all that the CDN has, what the page names may run, and nothing that is not its hash.
    sources = re.findall(r"https:\S+", policy.replace(";", " "))
    assert len(sources) == 2
    for source in sources:
        assert re.fullmatch(
            r"https://cdn\.jsdelivr\.net/npm/[a-z-]+@[\d.]+/[a-z-]+\.(js|css)", source
        )
        assert re.search(rf'"{re.escape(source)}" integrity="sha384-\S{{64}}"', docs.text)
    script = re.search(r"<script>(.+)</script>", docs.text)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    (scripts,) = re.findall(r"script-src ([^;]+)", policy)
    assert scripts.split() == [sources[0], f"'sha256-{digest}'"]

"""What `helm test` does: says what it proves, and fails where no request could be steered.

python steers.py URL          PERSONA_API_KEY is the key to ask with, if there is one
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from typing import Any

SECONDS = 120.0


def ask(url: str, body: dict[str, Any] | None = None) -> Any:
    """Returns the answer to a GET, or with a body to a POST."""
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("PERSONA_API_KEY"):
        headers["X-API-Key"] = key
    data = json.dumps(body).encode() if body else None
    with urllib.request.urlopen(
        urllib.request.Request(url, data, headers), timeout=SECONDS
    ) as answer:
        return json.load(answer)


def check(url: str) -> str:
    """Returns what is wrong with a gateway, or `""`; prints what is right."""
    try:
        ask(f"{url}/health/ready")
    except (OSError, ValueError) as error:
        return f"no model answers: {error}"
    print("proved: the gateway reaches a Triton whose models answer")
    try:
        traits = ask(f"{url}/status")["available_traits"]
    except urllib.error.HTTPError as error:
        if error.code == 401 and not os.environ.get("PERSONA_API_KEY"):
            print("not proved: that it generates, and steers, which takes test.apiKeySecret")
            return ""
        return f"/status answers {error.code}"
    if not traits:
        return (
            "there are no traits: every steered request is refused. Are the vectors this model's?"
        )
    body = {"prompt": "Hello!", "trait": traits[0], "scalar": 1.0, "max_tokens": 1}
    try:
        ask(f"{url}/api/v1/generate", body)
    except urllib.error.HTTPError as error:
        reason = error.read(500).decode(errors="replace")
        return f"a request steered by {traits[0]} is refused: {reason}"
    print(f"proved: a request is steered by {traits[0]}, one of {len(traits)} traits")
    return ""


if __name__ == "__main__":
    sys.exit(check(sys.argv[1]) or 0)

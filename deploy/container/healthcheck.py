"""Generates one token, and fails if the model does not: Triton calls itself ready over a dead one.

    python3 healthcheck.py [URL of Triton's HTTP port] [seconds]

It needs nothing but Python, so that a probe starts fast.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request

DEFAULT_URL = f"http://127.0.0.1:{os.environ.get('TRITON_HTTP_PORT', '8000')}"
DEFAULT_SECONDS = 10.0
REQUEST = {"text_input": "Hi", "raw": True, "max_tokens": 1, "stream": False}
FULL = "resource_exhausted"
"""The code of a refusal for want of room: whoever refuses lives, and restarts lose answers."""


def problem_of(url: str, seconds: float) -> str:
    """Returns what is wrong, or `""`.

    Args:
        url: Triton's HTTP address.
        seconds: How long the answer may take.
    """
    request = urllib.request.Request(
        f"{url}/v2/models/persona/generate",
        json.dumps(REQUEST).encode(),
        {"Content-Type": "application/json"},
    )
    # Not through a proxy that the environment may name.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=seconds) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        return f"status {error.code}: {error.read(500).decode(errors='replace')}"
    except (OSError, ValueError) as error:
        return str(error) or type(error).__name__
    if answer.get("error") and answer.get("error_code") != FULL:
        return str(answer["error"])
    return ""


def main(arguments: list[str]) -> int:
    """Prints what is wrong; the exit status is 0 if nothing is."""
    url = arguments[0] if arguments else DEFAULT_URL
    seconds = float(arguments[1]) if len(arguments) > 1 else DEFAULT_SECONDS
    problem = problem_of(url.rstrip("/"), seconds)
    if problem:
        print(f"unhealthy: {problem}", file=sys.stderr)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Lets open answers end before Triton is told to stop: what it does by itself would lose them.

From SIGTERM on, Triton 2.51 refuses the steps that an open answer of the ensemble still has to
take: its stream gets nothing more, not even an error. So the ensemble is unloaded first, which
refuses new requests (a gateway sends them elsewhere) and leaves open ones alone.

    python3 drain.py [URL of Triton's HTTP port] [seconds]

TRITON_CONTROL_KEY is the secret that Triton was started with.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from typing import Any

from triton_models import control

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_SECONDS = 30.0
ASK_SECONDS = 5.0
POLL_SECONDS = 0.2


def post(url: str, body: dict[str, Any]) -> Any:
    """Returns the answer to a request, or `None` if it is empty.

    Raises:
        OSError: There is none.
        ValueError: It is no JSON.
    """
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get(control.VARIABLE):
        headers[control.HEADER] = key
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    # Not through a proxy that the environment may name.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=ASK_SECONDS) as response:
        text = response.read()
    return json.loads(text) if text else None


def open_answers(url: str) -> int:
    """Returns how many requests the engine computes or has waiting."""
    answer = post(f"{url}/v2/models/steered_qwen/generate", {"describe": True})
    engine = json.loads(answer["description"])["engine"]
    return int(engine["running"]) + int(engine["waiting"])


def drain(url: str, seconds: float) -> str:
    """Refuses new requests and waits for the open ones; returns what is left to say, or `""`.

    Args:
        url: Triton's HTTP address.
        seconds: How long the open ones may take.
    """
    deadline = time.monotonic() + seconds
    try:
        post(f"{url}/v2/repository/models/persona/unload", {})
        while count := open_answers(url):
            if time.monotonic() > deadline:
                return f"{count} requests did not end within {seconds:g} s"
            time.sleep(POLL_SECONDS)
        # The last pieces are on their way through the detokenizer.
        time.sleep(POLL_SECONDS)
    except (OSError, ValueError, LookupError, TypeError) as error:
        # Nothing to wait for: the model is dead, or was never there.
        return f"Triton cannot be asked: {error}"
    return ""


def main(arguments: list[str]) -> int:
    """Drains, and says what was left open; the exit status is 0 if nothing was."""
    url = arguments[0] if arguments else DEFAULT_URL
    seconds = float(arguments[1]) if len(arguments) > 1 else DEFAULT_SECONDS
    problem = drain(url.rstrip("/"), seconds)
    if problem:
        print(f"drain: {problem}", file=sys.stderr)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

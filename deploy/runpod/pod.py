#!/usr/bin/env python3
"""Creates, shows, stops, starts and removes a pod on RunPod, by its REST API.

The account's key is read from RUNPOD_API_KEY, the callers' entries from a file: neither is printed.
The API is documented at https://docs.runpod.io/api-reference-v2 (version 2, `/v2/pods`).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import httpx

API = "https://api.runpod.io/v2"
TEMPLATE = Path(__file__).with_name("pod.json")
SECONDS = 60.0
HIDDEN = "(not shown)"
PROXY_SECONDS = 100
"""How long RunPod's proxy waits for an answer's next byte before it ends it."""


class PodError(Exception):
    """Something is missing, or RunPod refuses; the message says what."""


def read_entries(path: Path) -> str:
    """Returns a file's API-key entries as the gateway takes them.

    Raises:
        PodError: It holds no list of entries.
    """
    try:
        entries = json.loads(path.read_text())
    except OSError as error:
        raise PodError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise PodError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(entries, list) or not entries or not all("sha256" in e for e in entries):
        raise PodError(f"{path} must hold a list of the entries that `persona keys new` prints")
    return json.dumps(entries)


def request_for(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the body that creates the pod.

    Raises:
        PodError: An argument cannot be used.
    """
    body: dict[str, Any] = json.loads(arguments.template.read_text())
    if arguments.image:
        body["image"] = arguments.image
    if "REGISTRY" in body["image"]:
        raise PodError("name the image: --image registry.example.com/team/persona-pod:1.0")
    _place(body, arguments)
    environment = body.setdefault("env", {})
    for pair in arguments.env:
        name, equals, value = pair.partition("=")
        if not equals:
            raise PodError(f"--env takes NAME=VALUE, not {pair}")
        environment[name] = value
    if arguments.keys:
        environment["API_KEYS"] = read_entries(arguments.keys)
    if not environment.get("API_KEYS") and environment.get("ALLOW_ANONYMOUS") != "true":
        raise PodError(
            "the pod's address is public: give --keys keys.json (or --env ALLOW_ANONYMOUS=true if "
            "whoever finds it may use it)"
        )
    return body


def _place(body: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Puts into a request where the pod runs and what it mounts."""
    if arguments.gpu:
        body["gpu"]["id"] = arguments.gpu
    if arguments.gpus:
        body["gpu"]["count"] = arguments.gpus
    if arguments.registry:
        body["registry"] = arguments.registry
    if arguments.network_volume:
        path = body["mounts"]["persistent"]["path"]
        body["mounts"] = {"network": [{"volumeId": arguments.network_volume, "path": path}]}


def shown(body: dict[str, Any]) -> str:
    """Returns a request or an answer as text, without the entries of keys."""
    environment = body.get("env") or {}
    hidden = {name: HIDDEN if name == "API_KEYS" else value for name, value in environment.items()}
    return json.dumps({**body, **({"env": hidden} if environment else {})}, indent=2)


def ask(method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Returns RunPod's answer.

    Raises:
        PodError: There is none, or it is a refusal.
    """
    key = os.environ.get("RUNPOD_API_KEY", "")
    if not key:
        raise PodError("set RUNPOD_API_KEY to your account's key")
    url = os.environ.get("RUNPOD_API", API) + path
    headers = {"Authorization": f"Bearer {key}"}
    try:
        answer = httpx.request(method, url, json=body, headers=headers, timeout=SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL, ImportError, ValueError) as error:
        # The last two are about a proxy of the environment.
        raise PodError(f"RunPod cannot be reached: {error}") from error
    if answer.is_error:
        raise PodError(f"RunPod refuses with {answer.status_code}: {answer.text[:500]}")
    return answer.json() if answer.content else {}


def create(arguments: argparse.Namespace) -> None:
    """Creates a pod, or prints what would be sent."""
    body = request_for(arguments)
    if arguments.dry_run:
        print(shown(body))
        return
    pod = ask("POST", "/pods", body)
    print(f"{pod['id']}  https://{pod['id']}-8000.proxy.runpod.net")
    print(
        f"note: the proxy ends what is silent for {PROXY_SECONDS} s: ask for long answers with "
        '"stream": true',
        file=sys.stderr,
    )


def act(arguments: argparse.Namespace) -> None:
    """Shows, starts, stops or removes a pod."""
    path = f"/pods/{arguments.id}"
    if arguments.action == "show":
        print(shown(ask("GET", path)))
    elif arguments.action == "remove":
        ask("DELETE", path)
    else:
        ask("POST", f"{path}/action", {"action": arguments.action})


def main(arguments: list[str] | None = None) -> int:
    """Does what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="action", required=True)
    new = commands.add_parser("create", help="create a pod and print its id and address")
    new.add_argument("--image", help="the image persona-pod, in a registry that RunPod reaches")
    new.add_argument("--keys", type=Path, help="a JSON list of API-key entries")
    new.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    new.add_argument("--gpu", metavar="NAME", help='which GPU, such as "NVIDIA L4"')
    new.add_argument("--gpus", type=int, help="how many of them")
    new.add_argument("--registry", metavar="ID", help="the credential of a private registry")
    new.add_argument("--network-volume", metavar="ID", help="models and vectors that stay")
    new.add_argument("--template", type=Path, default=TEMPLATE)
    new.add_argument("--dry-run", action="store_true", help="print what would be sent")
    new.set_defaults(run=create)
    for action in ("show", "start", "stop", "remove"):
        command = commands.add_parser(action)
        command.add_argument("id")
        command.set_defaults(run=act)
    parsed = parser.parse_args(arguments)
    try:
        parsed.run(parsed)
    except PodError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

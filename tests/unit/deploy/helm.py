"""Helm itself, by its Go library, in a process of its own: Go has its own way with signals.

As a script it reads questions and writes what Helm said, as JSON; it is no module of `tests` then,
whose package takes seconds to import.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from typing import Any

import yaml

from triton_models.settings import REPOSITORY_ROOT

CHART = REPOSITORY_ROOT / "deploy" / "helm" / "persona"
RELEASE, NAMESPACE = "demo", "serving"


class HelmError(Exception):
    """Helm refuses."""


def render(*files: str, **values: Any) -> list[dict[str, Any]]:
    """Returns the resources of a release.

    Args:
        *files: Files of values beside the chart's own, as with `--values`.
        **values: More, which stand in for theirs.

    Raises:
        HelmError: Helm does not render it.
    """
    manifests = _ask("render", json.dumps(values_of(*files, **values)))
    return [
        document
        for path, text in sorted(manifests.items())
        if not path.endswith("NOTES.txt")
        for document in yaml.safe_load_all(text)
        if document
    ]


def notes(*files: str, **values: Any) -> str:
    """Returns what Helm prints after an installation."""
    manifests = _ask("render", json.dumps(values_of(*files, **values)))
    return next(str(text) for path, text in manifests.items() if path.endswith("NOTES.txt"))


def lint(*files: str, **values: Any) -> list[str]:
    """Returns what `helm lint --strict` complains about."""
    report = _ask("lint", json.dumps(values_of(*files, **values)))
    # An icon, which it would like to have, is information.
    found = [each["error"] for each in report["messages"] if each["severity"] > 1]
    return [*found, *report["errors"]]


def values_of(*files: str, **values: Any) -> dict[str, Any]:
    """Returns the values of files and those given, merged as Helm does."""
    merged: dict[str, Any] = {}
    for file in files:
        _merge(merged, yaml.safe_load((CHART / file).read_text()))
    _merge(merged, values)
    return merged


def _merge(into: dict[str, Any], values: dict[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _ask(command: str, values: str) -> Any:
    reply = json.loads(_reply(command, values))
    if "error" in reply:
        raise HelmError(reply["error"])
    return reply["answer"]


@cache
def _reply(command: str, values: str) -> str:
    helm = _helm()
    assert helm.stdin
    assert helm.stdout
    helm.stdin.write(json.dumps([command, json.loads(values)]) + "\n")
    helm.stdin.flush()
    return helm.stdout.readline()


@cache
def _helm() -> subprocess.Popen[str]:
    """Starts Helm; it ends when this process does, with its input."""
    return subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY_ROOT)},
    )


def main() -> None:
    """Answers questions, one in each line."""
    for line in sys.stdin:
        command, values = json.loads(line)
        try:
            reply = {"answer": _answer(command, values)}
        except Exception as error:
            reply = {"error": str(error)}
        print(json.dumps(reply), flush=True)


def _answer(command: str, values: dict[str, Any]) -> Any:
    import helm_python

    if command == "lint":
        return helm_python.lint(CHART, values, strict=True, namespace=NAMESPACE)
    chart = helm_python.Chart.load(CHART)
    return chart.render(values, name=RELEASE, namespace=NAMESPACE, is_install=True)


if __name__ == "__main__":
    main()

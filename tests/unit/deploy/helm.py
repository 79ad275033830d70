"""Helm itself, by its Go library, in a process of its own: Go has its own way with signals.

As a script it reads JSON and writes what Helm said; it is no module of `tests` then,
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
    return json.loads(_output(command, values))


@cache
def _output(command: str, values: str) -> str:
    ended = subprocess.run(
        [sys.executable, __file__, command],
        input=values,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY_ROOT)},
    )
    if ended.returncode:
        raise HelmError(ended.stderr)
    return ended.stdout


def main() -> int:
    """Answers one question."""
    import helm_python

    values = json.load(sys.stdin)
    try:
        if sys.argv[1] == "lint":
            answer: Any = helm_python.lint(CHART, values, strict=True, namespace=NAMESPACE)
        else:
            chart = helm_python.Chart.load(CHART)
            answer = chart.render(values, name=RELEASE, namespace=NAMESPACE, is_install=True)
    except Exception as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())

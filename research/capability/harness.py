"""Results of lm-evaluation-harness, as points over scalars."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from persona_research.capability.points import Point
from persona_research.capability.task import CapabilityError
from persona_research.errors import why_unreadable
from persona_research.evaluation.estimates import Estimate

_STEERED = re.compile(r"[^:]*(?::([^=,]+)=([^=,]+))?")
"""A model's name, alone or with a trait and a scalar: its command line takes no more of them."""

_NORMAL_95 = 1.96
"""Standard errors on each side of a mean that its 95% interval has, by the normal distribution."""


def read_harness(folder: Path) -> list[Point]:
    """Reads what `lm_eval --output_path` wrote into a folder, for models steered by their names.

    What was measured without steering stands for scalar 0 of every trait. Where the same was
    measured several times, the last one counts.

    Raises:
        CapabilityError: There are no results, or none of a steered model.
    """
    found: dict[tuple[str, str, str | None, float], Point] = {}
    for path in sorted(folder.rglob("results*.json"), key=lambda each: each.name):
        for point, trait in _points(path):
            found[point.task, point.measure, trait, point.scalar] = point
    traits = sorted({trait for _, _, trait, _ in found if trait is not None})
    if not traits:
        raise CapabilityError(
            f"{folder} has no results*.json of lm_eval with a model like persona:sarcasm=2"
        )
    return [
        Point(point.task, point.measure, each, point.scalar, point.items, point.estimate)
        for (_, _, trait, _), point in found.items()
        for each in (traits if trait is None else [trait])
    ]


def _points(path: Path) -> Iterator[tuple[Point, str | None]]:
    """Yields the points of one file, and the trait, or none without steering."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        name, results = str(document["model_name"]), document["results"]
        counts = document.get("n-samples", {})
        steering = _STEERED.fullmatch(name)
        if steering is None:
            raise CapabilityError(f"{path}: the model {name!r} is not steered by one trait")
        trait, scalar = steering[1], float(steering[2] or 0)
        for task, values in results.items():
            items = int(counts.get(task, {}).get("effective", 0))
            for measure, estimate in _estimates(values):
                yield Point(task, measure, trait or "", scalar, items, estimate), trait
    except CapabilityError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise CapabilityError(f"{path} cannot be read: {why_unreadable(error)}") from None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CapabilityError(f"{path} is not what lm_eval writes: {error!r}") from None


def _estimates(values: Mapping[str, Any]) -> Iterator[tuple[str, Estimate]]:
    for name, value in values.items():
        measure, comma, filtering = name.partition(",")
        if not comma or measure.endswith("_stderr") or not isinstance(value, int | float):
            continue
        error = values.get(f"{measure}_stderr,{filtering}")
        # Measures without a standard error have "N/A".
        spread = _NORMAL_95 * error if isinstance(error, int | float) else math.nan
        title = measure if filtering == "none" else f"{measure} ({filtering})"
        yield title, Estimate(value, value - spread, value + spread)

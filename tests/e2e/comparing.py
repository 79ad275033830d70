"""A comparison and a sweep to ask for."""

from __future__ import annotations

from typing import Any

PROMPT = "How do I bake bread?"
GREEDY: dict[str, Any] = {"prompt": PROMPT, "temperature": 0.0}
STEERINGS: list[dict[str, Any]] = [
    {"traits": [{"name": "sarcasm", "scalar": 2.0}]},
    {"traits": [{"name": "flattery", "scalar": -1.5}], "positions": "response", "label": "blunt"},
    {"traits": [{"name": "sarcasm", "scalar": 1.0}, {"name": "flattery", "scalar": 1.0}]},
]
COMPARE = {**GREEDY, "steerings": STEERINGS}
SCALARS = [-2.0, -1.0, 0.0, 1.0, 2.0]
SWEEP = {**GREEDY, "trait": "sarcasm", "scalars": SCALARS, "scores": True}

"""Examples of steering, which the documentation of the calls shows."""

from __future__ import annotations

from pydantic import JsonValue

EXAMPLE_STEERING: JsonValue = {"traits": [{"name": "sarcasm", "scalar": 2.0}]}

EXAMPLES_OF_EACH_KIND: tuple[JsonValue, ...] = (
    {
        "traits": [
            {"name": "sarcasm", "scalar": 1.5, "positions": "response"},
            {"name": "flattery", "scalar": -0.5, "layers": [1], "unit": "raw"},
        ]
    },
    {
        "operations": [
            {"trait": "maliciousness", "kind": "cap", "value": 90.0, "unit": "percentile"}
        ]
    },
    {"operations": [{"trait": "helpfulness", "kind": "floor", "value": 15.0}]},
    {
        "operations": [
            {"trait": "sarcasm", "kind": "pin", "value": 10.0, "strength": 0.5, "layers": [1]}
        ]
    },
    {
        "traits": [{"name": "flattery", "scalar": 2.0}],
        "operations": [{"trait": "flattery", "kind": "ablate"}],
    },
    {
        "traits": [{"name": "flattery", "scalar": -2.0}],
        "when": {"trait": "flattery", "above": 90.0, "unit": "percentile"},
    },
    {
        "traits": [{"name": "helpfulness", "scalar": 1.0}],
        "when": {"trait": "helpfulness", "below": 0.0, "layer": 1},
    },
    {
        "traits": [{"name": "flattery", "scalar": 2.0}],
        "window": {"from": 1, "to": 40, "fade": 10},
    },
    {
        "traits": [{"name": "maliciousness", "scalar": 1.0}],
        "limits": [
            {"trait": "maliciousness", "above": 99.0, "unit": "percentile", "over": 3},
            {"trait": "helpfulness", "below": -40.0, "action": "report"},
        ],
    },
)
"""One of each thing that a steering can say."""

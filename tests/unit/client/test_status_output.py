"""`persona status` says which traits are calibrated."""

from __future__ import annotations

from typing import Any

import pytest

from persona_client.cli.output import print_status
from persona_client.results import Status


def trait(name: str, calibration: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "trait_name": name,
        "model_name": "m",
        "layers": [1],
        "layer_count": 1,
        "calibration": calibration,
    }


USABLE = {"usable": True}
OTHERS = {"usable": False, "reason": "it is of another model"}


@pytest.mark.parametrize(
    ("calibrations", "says"),
    [
        ({"a": USABLE, "b": USABLE}, "calibrated: all of them"),
        ({"a": OTHERS, "b": USABLE}, "calibrated: b"),
        ({"a": OTHERS, "b": None}, "calibrated: none of them"),
    ],
)
def test_calibrated_traits_are_named(
    calibrations: dict[str, dict[str, Any] | None], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    body = {
        "status": "ready",
        "model": "m",
        "device": "cpu",
        "available_traits": sorted(calibrations),
        "traits": {name: trait(name, found) for name, found in calibrations.items()},
    }
    print_status(Status.from_json(body))
    assert says in capsys.readouterr().out.splitlines()


def test_a_server_that_says_nothing_of_traits_is_no_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    body = {"status": "initializing", "model": "m", "device": "cpu", "available_traits": []}
    print_status(Status.from_json(body))
    assert "calibrated" not in capsys.readouterr().out

"""What Typer takes for a number and nobody can mean is refused by name, before anything runs."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from persona_client.cli.app import app

GENERATE = ("generate", "hi", "--url", "http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("command", "option", "number"),
    [
        ((*GENERATE, "--trait", "sarcasm"), "--scalar", "nan"),
        (GENERATE, "--temperature", "nan"),
        (GENERATE, "--top-p", "inf"),
        (("vectors", "evaluate", "sarcasm"), "--budget", "nan"),
        (("vectors", "evaluate", "sarcasm"), "--budget", "inf"),
        (("vectors", "evaluate", "sarcasm"), "--temperature", "nan"),
        (("vectors", "extract", "sarcasm"), "--scale", "nan"),
        (("vectors", "make", "sarcasm"), "--temperature", "nan"),
        (("vectors", "calibrate", "sarcasm"), "--temperature", "nan"),
    ],
)
def test_no_option_takes_it(command: tuple[str, ...], option: str, number: str) -> None:
    done = CliRunner().invoke(app, [*command, option, number])
    said = " ".join(done.output.replace("│", " ").split())
    assert done.exit_code == 2, said
    assert f"Invalid value for '{option}': " in said


@pytest.mark.parametrize(
    "given",
    [("--steer", "sarcasm=nan"), ("--cap", "sarcasm=inf"), ("--ablate", "sarcasm:nan")],
)
def test_nor_does_a_part_of_one(given: tuple[str, str]) -> None:
    done = CliRunner().invoke(app, [*GENERATE, *given])
    assert done.exit_code == 2
    assert given[0] in done.output

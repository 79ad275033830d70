"""How a script ends that makes or judges vectors."""

from __future__ import annotations

import subprocess
import sys

import pytest

from persona_research.commands.script import exit_status
from persona_research.errors import ResearchError
from triton_models.settings import REPOSITORY_ROOT


@pytest.mark.parametrize(
    ("ending", "status", "line"),
    [
        (None, 0, ""),
        (ResearchError("the trait is missing"), 1, "make_it: the trait is missing\n"),
        (KeyboardInterrupt(), 130, "stopped: what is finished is kept; run it again to go on\n"),
    ],
)
def test_it_says_in_a_line_why_it_stopped(
    ending: BaseException | None,
    status: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def work() -> None:
        if ending is not None:
            raise ending

    monkeypatch.setattr(sys, "argv", ["scripts/make_it.py"])
    assert exit_status(work) == status
    assert capsys.readouterr().err == line


def test_a_fault_of_our_own_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        exit_status(lambda: print(1 // 0))


def test_the_scripts_end_like_that() -> None:
    script = str(REPOSITORY_ROOT / "scripts" / "extract_vectors.py")
    done = subprocess.run([sys.executable, script, "--trait", "nosuch"], capture_output=True)
    assert done.returncode == 1
    assert done.stderr.startswith(b"extract_vectors: ")
    assert done.stderr.count(b"\n") == 1

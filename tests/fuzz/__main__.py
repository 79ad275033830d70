"""`python -m tests.fuzz TARGET ...`: looks for inputs that break what parses them, with atheris.

It takes `pip install atheris`, which this project does not: libFuzzer, told by the interpreter
which branches an input has reached. What is worth keeping of the inputs found is kept in
`tests/fuzz/corpus`, where the ordinary tests find it.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MAX_KEPT = 40
"""Inputs of a target in the corpus, of all lengths, of those that reached anything new."""

SECONDS_EACH = 10
"""After how long an input has hung: what is right takes milliseconds."""

MEMORY_MIB = 2048
FOUND, REACHED = "found-", "reached-"
"""What the names of kept inputs begin with: those that broke something stay for ever."""

_PACKAGES = ("gateway", "persona_client", "persona_research", "triton_models")


def main() -> int:
    """Fuzzes the targets named, one after the other; returns 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="+", help="see tests/fuzz/targets.py; or `all`")
    parser.add_argument("--seconds", type=int, default=120, help="for each target")
    parser.add_argument("--inside", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside is not None:
        _fuzz(arguments.targets[0], arguments.inside)
    from tests.fuzz.targets import TARGETS

    names = list(TARGETS) if arguments.targets == ["all"] else arguments.targets
    found = [name for name in names if not _look_for_trouble(TARGETS[name], arguments.seconds)]
    print(f"trouble with: {', '.join(found) or 'nothing'}")
    return 1 if found else 0


def _look_for_trouble(target: Any, seconds: int) -> bool:
    """Returns whether all inputs of some minutes went well; keeps those that reach most."""
    from tests.fuzz.targets import CORPUS, MAX_LENGTH

    with tempfile.TemporaryDirectory() as temporary:
        tried = Path(temporary, "tried")
        tried.mkdir()
        for content in (*target.seeds, *target.kept()):
            (tried / hashlib.sha256(content).hexdigest()[:16]).write_bytes(content)
        words = Path(temporary, "words")
        words.write_text(_dictionary(target.seeds))
        limits = [
            f"-dict={words}",
            f"-max_len={MAX_LENGTH}",
            f"-timeout={SECONDS_EACH}",
            f"-rss_limit_mb={MEMORY_MIB}",
            f"-artifact_prefix={temporary}/found-",
        ]
        status = _inside(target.name, f"-max_total_time={seconds}", *limits, str(tried))
        for found in sorted(Path(temporary).glob("found-*")):
            print(f"{target.name}: {found.name}: {found.read_bytes()[:400]!r}")
            _keep(target, FOUND, found.read_bytes())
        if status == 0:
            for path in (CORPUS / target.name).glob(f"{REACHED}*"):
                path.unlink()
            reached = sorted(tried.iterdir(), key=lambda each: each.stat().st_size)
            for path in reached[:: len(reached) // MAX_KEPT + 1]:
                _keep(target, REACHED, path.read_bytes())
        return status == 0


def _dictionary(seeds: Sequence[bytes]) -> str:
    """Returns the words of inputs that are right, which chance would not find, for libFuzzer."""
    text = b"\n".join(seeds)
    words = {*re.findall(rb'"[^"\s]{1,40}"', text), *re.findall(rb"[a-z_]{3,20}", text)}
    words |= {b"[", b"]", b"{", b"}", b",", b":", b"null", b"true", b"-1", b"1e999", b"\\ud800"}
    escaped = ("".join(f"\\x{byte:02x}" for byte in word) for word in sorted(words))
    return "".join(f'"{word}"\n' for word in escaped)


def _keep(target: Any, prefix: str, content: bytes) -> None:
    from tests.fuzz.targets import CORPUS

    folder = CORPUS / target.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{prefix}{hashlib.sha256(content).hexdigest()[:16]}").write_bytes(content)


def _inside(name: str, *options: str) -> int:
    # libFuzzer ends the process that it runs in.
    command = [sys.executable, "-m", "tests.fuzz", name, "--inside", *options]
    return subprocess.run(command, check=False).returncode


def _fuzz(name: str, options: list[str]) -> None:
    import atheris

    with atheris.instrument_imports(include=list(_PACKAGES), enable_loader_override=False):
        from tests.fuzz.targets import TARGETS

    atheris.Setup([sys.argv[0], *options], TARGETS[name].run)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())

"""`python -m benchmarks.soak`: hours of use in one."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from benchmarks.soak.run import SoakOptions, soak
from benchmarks.soak.servers import StartError


def main() -> int:
    """Runs it, prints the report and returns the exit status: 1 if anything was lost or leaked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long the load lasts")
    parser.add_argument("--seed", type=int, default=0, help="what is asked and broken, and when")
    parser.add_argument("--users", type=int, default=12, help="how many ask at the same time")
    parser.add_argument("--requests", type=int, default=1_000_000, help="the most that are sent")
    parser.add_argument(
        "--interval", type=float, default=5.0, help="seconds between two looks at the processes"
    )
    parser.add_argument(
        "--folder", type=Path, help="an empty one for logs, samples and the report; default: new"
    )
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="persona-soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        parser.error(f"{folder} is not empty")
    options = SoakOptions(**{**vars(arguments), "folder": folder.absolute()}, say=_say)
    try:
        report = asyncio.run(soak(options))
    except StartError as error:
        _say(f"soak: {error}")
        return 1
    print(report.markdown())
    _say(f"logs and samples: {folder}")
    return 0 if report.sound else 1


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

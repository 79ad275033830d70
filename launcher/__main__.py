"""`python -m launcher` keeps Triton and the gateway running until Ctrl-C or SIGTERM.

python -m launcher                          both
python -m launcher triton [ARGUMENT ...]    Triton only, with additional arguments for tritonserver
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from launcher import preflight
from launcher.banner import banner
from launcher.errors import LaunchError, LaunchInterrupted
from launcher.settings import StackSettings
from launcher.stack import Stack
from triton_models.variables import SettingsError

_USAGE = "usage: python -m launcher [triton [ARGUMENT ...]]"


def main(arguments: list[str]) -> int:
    """Runs the servers and returns the exit status."""
    with_gateway = arguments[:1] != ["triton"]
    if with_gateway and arguments:
        print(_USAGE, file=sys.stderr)
        return 2
    # A flag, because an exception from a signal handler can be lost, or interrupt the shutdown.
    interrupted = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: interrupted.set())
    try:
        settings = StackSettings.read()
        preflight.prepare(os.environ, with_gateway=with_gateway)
        for warning in preflight.warnings(os.environ):
            _say(f"warning: {warning}")
        stack = Stack(
            settings,
            say=_say,
            interrupted=interrupted,
            with_gateway=with_gateway,
            triton_arguments=tuple(arguments[1:]),
        )
        with stack:
            _say(banner(settings, stack, with_gateway=with_gateway))
            stack.watch()
            _say("stopping ...")
    except (LaunchError, SettingsError) as error:
        print(f"serve: {error}", file=sys.stderr)
        return 1
    except LaunchInterrupted:
        pass
    _say("stopped")
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

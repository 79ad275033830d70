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
from launcher.errors import LaunchError, LaunchInterrupted
from launcher.settings import StackSettings
from launcher.stack import Stack
from triton_models import control
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
            _say(_banner(settings, stack, with_gateway=with_gateway))
            stack.watch()
            _say("stopping ...")
    except (LaunchError, SettingsError) as error:
        print(f"serve: {error}", file=sys.stderr)
        return 1
    except LaunchInterrupted:
        pass
    _say("stopped")
    return 0


_PAGES = (
    f", and web pages in its browsers: set {control.ACCESS_VARIABLE}, see docs/triton-security.md"
)


def _say(line: str) -> None:
    print(line, flush=True)


def _banner(settings: StackSettings, stack: Stack, *, with_gateway: bool) -> str:
    reach = _who_reaches(settings, bool(stack.access_key))
    http = "off (TRITON_HTTP=true turns it on)"
    if settings.triton_http:
        http = f"{settings.http_url}  ({reach}{'' if stack.access_key else _PAGES})"
    rest = f"{settings.gateway_url}  (documentation: {settings.gateway_url}/docs)"
    lines = [
        "",
        "ready",
        *([f"  REST API      {rest}"] if with_gateway else []),
        f"  Triton gRPC   {settings.grpc_address}  ({reach})",
        f"  Triton HTTP   {http}",
        f"  Metrics       {settings.metrics_url}",
        f"  Status        {settings.status_url}/status",
        *([f"  Logs          {settings.run_folder / 'logs'}"] if settings.log_files else []),
        "Stop with Ctrl-C.",
    ]
    return "\n".join(lines)


def _who_reaches(settings: StackSettings, guarded: bool) -> str:
    if settings.triton_on_loopback:
        who = "all programs on this machine"
    else:
        who = "all clients that can reach it"
    if guarded:
        return f"for {who} with {control.ACCESS_VARIABLE}"
    return f"for {who}, without API keys or policy"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`python -m launcher`: runs Triton and the gateway until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading

from launcher.errors import LaunchError, LaunchInterrupted
from launcher.settings import StackSettings, read_stack_settings
from launcher.stack import Stack


def main() -> int:
    """Runs the servers and returns the exit status."""
    # A flag, not an exception: an exception out of a signal handler can be lost, or cut short the
    # stopping that it asks for.
    interrupted = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: interrupted.set())
    try:
        settings = read_stack_settings()
        with Stack(settings, say=_say, interrupted=interrupted) as stack:
            _say(_banner(settings))
            stack.watch()
            _say("stopping ...")
    except LaunchError as error:
        print(f"serve: {error}", file=sys.stderr)
        return 1
    except LaunchInterrupted:
        pass
    _say("stopped")
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


def _banner(settings: StackSettings) -> str:
    return f"""
ready
  REST API      {settings.gateway_url}  (documentation: {settings.gateway_url}/docs)
  Triton gRPC   {settings.grpc_address}
  Triton HTTP   {settings.http_url}
  Metrics       http://{settings.triton_host}:{settings.triton_metrics_port}/metrics
  Logs          {settings.run_folder / "logs"}
Stop with Ctrl-C."""


if __name__ == "__main__":
    sys.exit(main())

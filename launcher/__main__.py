"""`python -m launcher`: runs Triton and the gateway until Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping

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
            for warning in _warnings(settings, os.environ):
                _say(f"WARNING: {warning}")
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
    reach = _who_reaches(settings)
    http = (
        f"{settings.http_url}  ({reach} and web pages in its browsers, without API keys or policy)"
        if settings.triton_http
        else "off (TRITON_HTTP=true turns it on)"
    )
    return f"""
ready
  REST API      {settings.gateway_url}  (documentation: {settings.gateway_url}/docs)
  Triton gRPC   {settings.grpc_address}  ({reach}, without API keys or policy)
  Triton HTTP   {http}
  Metrics       {settings.metrics_url}
  Logs          {settings.run_folder / "logs"}
Stop with Ctrl-C."""


def _who_reaches(settings: StackSettings) -> str:
    if settings.triton_on_loopback:
        return "for all programs on this machine"
    return f"for whoever reaches {settings.triton_host}"


def _warnings(settings: StackSettings, variables: Mapping[str, str]) -> list[str]:
    """Returns what the operator may not expect."""
    set_ = [name for name in ("API_KEYS", "API_KEYS_FILE", "POLICY_FILE") if variables.get(name)]
    if not set_:
        return []
    ports = [f"gRPC ({settings.grpc_address})"]
    if settings.triton_http:
        ports.append(f"HTTP ({settings.http_url})")
    return [
        f"{', '.join(set_)}: for the gateway alone. Triton's {' and '.join(ports)} generates and "
        f"steers {_who_reaches(settings)}, without a key and past the policy (docs/security.md)"
    ]


if __name__ == "__main__":
    sys.exit(main())

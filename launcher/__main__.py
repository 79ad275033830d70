"""`python -m launcher`: runs Triton and the gateway until Ctrl-C."""

from __future__ import annotations

import signal
import sys
from types import FrameType

from launcher.errors import LaunchError
from launcher.settings import StackSettings, read_stack_settings
from launcher.stack import Stack


def main() -> int:
    """Runs the servers and returns the exit status."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        settings = read_stack_settings()
        with Stack(settings, say=_say) as stack:
            _say(_banner(settings))
            stack.watch()
    except LaunchError as error:
        print(f"serve: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        _say("stopped")
    return 0


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(line: str) -> None:
    print(line, flush=True)


def _banner(settings: StackSettings) -> str:
    triton = settings.triton_host
    return f"""
ready
  REST API      {settings.gateway_url}  (documentation: {settings.gateway_url}/docs)
  Triton gRPC   {triton}:{settings.triton_grpc_port}
  Triton HTTP   http://{triton}:{settings.triton_http_port}
  Metrics       http://{triton}:{settings.triton_metrics_port}/metrics
  Logs          {settings.run_folder / "logs"}
Stop with Ctrl-C."""


if __name__ == "__main__":
    sys.exit(main())

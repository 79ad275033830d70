"""What the launcher says once it serves: where everything is, and which traits there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launcher.settings import StackSettings
from launcher.stack import Stack
from launcher.triton_calls import CallError
from triton_models import control

_PAGES = (
    f", and web pages in its browsers: set {control.ACCESS_VARIABLE}, see docs/triton-security.md"
)

_MOST_TRAITS = 10


def banner(settings: StackSettings, stack: Stack, *, with_gateway: bool) -> str:
    """Returns it; asks the model for its traits."""
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
        f"  Traits        {_traits(stack)}",
        "Stop with Ctrl-C.",
    ]
    return "\n".join(lines)


def _traits(stack: Stack) -> str:
    try:
        return traits_line(stack.describe())
    except CallError as error:
        return f"unknown ({error})"


def traits_line(description: Mapping[str, Any]) -> str:
    """Returns which traits there are, and which vector files give none.

    Args:
        description: What the model says about itself.
    """
    names, problems = list(description["traits"]), description["problems"]
    more = len(names) - _MOST_TRAITS
    line = ", ".join(names[:_MOST_TRAITS]) + (f" and {more} more" if more > 0 else "") or "none"
    if not problems:
        return line
    first = problems[0]
    return (
        f"{line}  ({len(problems)} of the vector files cannot be used; "
        f"{first['source']}: {first['reason']})"
    )


def _who_reaches(settings: StackSettings, guarded: bool) -> str:
    if settings.triton_on_loopback:
        who = "all programs on this machine"
    else:
        who = "all clients that can reach it"
    if guarded:
        return f"for {who} with {control.ACCESS_VARIABLE}"
    return f"for {who}, without API keys or policy"

"""The `persona keys` commands: keys for a gateway, made without one."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from datetime import datetime, timedelta, timezone
from typing import Annotated, Literal

import typer

keys_app = typer.Typer(help="Make API keys for a gateway.", no_args_is_help=True)

_PREFIX = "persona_"
"""By which people, and programs that look for leaked secrets, know a key when they see one."""

_RANDOM_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9_.@-]{1,64}")


@keys_app.command("new")
def new_key(
    name: Annotated[str, typer.Option(help="Whose key it is, for logs and limits.")],
    role: Annotated[
        Literal["user", "admin"], typer.Option(help="admin may change vectors as well.")
    ] = "user",
    days: Annotated[
        int | None, typer.Option(help="After how many days it expires. Default: never.", min=1)
    ] = None,
) -> None:
    """Print a new key, and below it the entry for the gateway's API_KEYS_FILE.

    The entry has the key's hash only: the key is shown here and never again.
    """
    if not _NAME.fullmatch(name):
        raise typer.BadParameter(f"--name is {name!r}: use up to 64 of A-Z, a-z, 0-9, _ . @ -")
    key = _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    entry = {"name": name, "role": role, "sha256": hashlib.sha256(key.encode()).hexdigest()}
    if days is not None:
        end = datetime.now(timezone.utc) + timedelta(days=days)
        entry["expires"] = end.isoformat(timespec="seconds")
    typer.echo(key)
    typer.echo(json.dumps(entry))
    typer.echo(
        "The first line is the key: give it to its owner, it cannot be shown again. The second is "
        "its entry, for the list in API_KEYS_FILE or API_KEYS.",
        err=True,
    )

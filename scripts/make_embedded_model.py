#!/usr/bin/env python3
"""Makes the embedded model's folder unless it is made, and prints its path."""

from __future__ import annotations

import sys

from persona_embedded.package import NAME, EmbeddedModelError, ensure_made
from triton_models.settings import ServerSettings
from triton_models.variables import SettingsError


def _say(line: str) -> None:
    print(f"setup: {line}", file=sys.stderr, flush=True)


def main() -> int:
    """Makes the model and returns the exit status."""
    try:
        folder = ServerSettings.read().model_cache / NAME
        ensure_made(folder, _say)
    except (EmbeddedModelError, SettingsError, OSError) as error:
        _say(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())

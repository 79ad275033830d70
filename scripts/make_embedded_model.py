#!/usr/bin/env python3
"""Makes the embedded model's folder unless it is made, and prints its path."""

from __future__ import annotations

import sys
import time

from persona_embedded.package import ADAPTER, NAME, EmbeddedModelError, find_gguf, is_made
from triton_models.settings import ServerSettings
from triton_models.variables import SettingsError


def _say(line: str) -> None:
    print(f"setup: {line}", file=sys.stderr, flush=True)


def main() -> int:
    """Makes the model and returns the exit status."""
    try:
        folder = ServerSettings.read().model_cache / NAME
        if not is_made(folder):
            gguf = find_gguf()
            _say(f"making the model {NAME} from the package {gguf.parent.name}, once ...")
            started = time.monotonic()
            from persona_embedded.making import make_model

            make_model(gguf, ADAPTER, folder, _say)
            _say(f"made {folder} in {time.monotonic() - started:.0f} s")
    except (EmbeddedModelError, SettingsError, OSError) as error:
        _say(str(error))
        return 1
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())

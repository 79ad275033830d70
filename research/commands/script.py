"""How a script ends that makes or judges vectors."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from persona_research.errors import USER_ERRORS


def exit_status(work: Callable[[], None]) -> int:
    """Does a script's work, and returns its exit status; an error or Ctrl-C is a line."""
    try:
        work()
    except USER_ERRORS as error:
        print(f"{Path(sys.argv[0]).stem}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped: what is finished is kept; run it again to go on", file=sys.stderr)
        return 130
    return 0

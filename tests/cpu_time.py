"""What the CPU takes for something, whatever else the machine does."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable


def cpu_seconds(work: Callable[[], object], times: int = 3) -> float:
    """Returns the least of some times, in seconds of this thread's work, garbage left aside."""

    def once() -> float:
        start = time.thread_time()
        work()
        return time.thread_time() - start

    gc.disable()
    try:
        return min(once() for _ in range(times))
    finally:
        gc.enable()

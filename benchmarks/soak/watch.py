"""Samples of what every process holds, and whether that grows."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.soak.processes import (
    STEP,
    TRITON,
    Holding,
    Process,
    SharedMemory,
    holding,
    shared_memory,
)
from benchmarks.soak.servers import Servers

MIB = 2**20

MEMORY_ALLOWED = 24 * MIB
"""By how much a process may grow over the second half of its life. Allocators settle slowly (the
engine's process grew by 27 MiB over its first 20,000 requests and by 0.4 over the last 2,500), and
what is kept for reuse fills; a leak of 2 KiB a request, at 10 requests a second, is 35 MiB in the
second half of an hour."""

MEMORY_SHARE_ALLOWED = 0.05
"""The same as a share of what the process had: a server of gigabytes wavers by more."""

DESCRIPTORS_ALLOWED = 12
"""Connections come and go with the users; one that is left behind each minute shows."""

THREADS_ALLOWED = 6
"""Pools of threads fill up to their bound; one that is left behind every five minutes shows."""

THREADS_OF_A_DEAD_STEP = 40
"""What Triton 2.51 keeps of a step whose process was killed amid answers: the old instance's pool
of 32 threads and three more, about 1 MiB, until Triton itself is started again. So many, and what
a line through steps rises above them, are allowed for each process of a step that was started
anew."""

SETTLED_SECONDS = 60.0
"""How long a process is left to load and to fill what it keeps before its growth counts."""

MIN_SECONDS = 30.0
MIN_SAMPLES = 6
"""How long, and by how many samples, a process must be watched to be judged."""


@dataclass(frozen=True, slots=True)
class ProcessSample:
    """What a process held, so many seconds after the beginning of the watch."""

    seconds: float
    holding: Holding


@dataclass(frozen=True, slots=True)
class Growth:
    """How a process changed over the second half of its life, once settled, by a fitted line.

    Attributes:
        first: What it held at the beginning of that half.
        last: What it held at the end.
        memory: Bytes by which it grew, shared ones divided.
    """

    role: str
    pid: int
    seconds: float
    first: Holding
    last: Holding
    memory: float = 0.0
    descriptors: float = 0.0
    threads: float = 0.0
    threads_allowed: int = THREADS_ALLOWED
    judged: bool = False

    @property
    def leaks(self) -> list[str]:
        """What grew beyond what is allowed."""
        allowed = max(MEMORY_ALLOWED, MEMORY_SHARE_ALLOWED * self.first.proportional)
        found = []
        if self.memory > allowed:
            found.append(f"memory by {self.memory / MIB:.0f} MiB, {allowed / MIB:.0f} allowed")
        if self.descriptors > DESCRIPTORS_ALLOWED:
            found.append(f"descriptors by {self.descriptors:.0f}, {DESCRIPTORS_ALLOWED} allowed")
        if self.threads > self.threads_allowed:
            found.append(f"threads by {self.threads:.0f}, {self.threads_allowed} allowed")
        return found if self.judged else []


class Watch:
    """Samples the servers, and writes each sample as lines of JSON."""

    def __init__(self, servers: Servers, path: Path, interval: float) -> None:
        self._servers = servers
        self._path = path
        self._interval = interval
        self._began = time.monotonic()
        self._lives: dict[Process, list[ProcessSample]] = defaultdict(list)
        self._roles: dict[Process, str] = {}
        self.shared_memory: list[SharedMemory] = []
        self.log_bytes = 0
        self._log_sizes: dict[Path, int] = {}

    async def run(self) -> None:
        """Samples until it is cancelled."""
        while True:
            await asyncio.to_thread(self.sample)
            await asyncio.sleep(self._interval)

    def sample(self) -> Counter[str]:
        """Takes one sample of everything, and returns how many descriptors each role has open."""
        now = time.monotonic() - self._began
        lines: list[dict[str, Any]] = []
        descriptors: Counter[str] = Counter()
        for process in self._servers.processes():
            held = holding(process)
            if held is None:
                continue
            self._lives[process].append(ProcessSample(now, held))
            # Between fork and exec a process looks like its parent.
            self._roles[process] = process.role
            descriptors[process.role] += held.descriptors
            lines.append({"seconds": now, "role": process.role, "pid": process.pid, **asdict(held)})
        shared = shared_memory(self._servers.shared_memory)
        self.shared_memory.append(shared)
        self._measure_logs()
        lines.append(
            {"seconds": now, "role": "/dev/shm", "files": shared.files, "bytes": shared.size}
        )
        lines.append({"seconds": now, "role": "logs", "bytes": self.log_bytes})
        with self._path.open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
        return descriptors

    def growth(self) -> list[Growth]:
        """Returns how each process changed, in the order in which they began."""
        steps = [
            samples[0].seconds
            for process, samples in self._lives.items()
            if self._roles[process].startswith(STEP)
        ]
        return [
            judged_growth(
                self._roles[process],
                process.pid,
                samples,
                steps if self._roles[process] == TRITON else (),
            )
            for process, samples in self._lives.items()
        ]

    def _measure_logs(self) -> None:
        for path in self._servers.logs:
            size, before = path.stat().st_size, self._log_sizes.get(path, 0)
            # A server that is started anew may begin its log anew.
            self.log_bytes += size - before if size >= before else size
            self._log_sizes[path] = size


def judged_growth(
    role: str, pid: int, samples: Sequence[ProcessSample], steps: Sequence[float] = ()
) -> Growth:
    """Returns how a process changed over all of its life; steps are when Triton's own began."""
    start, end = samples[0].seconds, samples[-1].seconds
    since = max((start + end) / 2, start + SETTLED_SECONDS)
    half = [sample for sample in samples if sample.seconds >= since] or [samples[-1]]
    known = Growth(role, pid, end - start, half[0].holding, half[-1].holding)
    if end - half[0].seconds < MIN_SECONDS or len(half) < MIN_SAMPLES:
        return known
    return replace(
        known,
        memory=fitted_growth(half, lambda held: held.proportional),
        descriptors=fitted_growth(half, lambda held: held.descriptors),
        threads=fitted_growth(half, lambda held: held.threads),
        threads_allowed=THREADS_ALLOWED
        + THREADS_OF_A_DEAD_STEP * sum(since <= began <= end for began in steps),
        judged=True,
    )


def fitted_growth(samples: Sequence[ProcessSample], value: Callable[[Holding], int]) -> float:
    """Returns by how much a line through the samples rises from the first to the last.

    Its slope is the median of those between all pairs (Theil and Sen): what jumps once, such as the
    memory that an allocator keeps after the largest request so far, is not what rises steadily.
    """
    times = np.array([sample.seconds for sample in samples])
    values = np.array([float(value(sample.holding)) for sample in samples])
    earlier, later = np.triu_indices(len(samples), 1)
    apart = times[later] - times[earlier]
    if not apart.size or not apart.all():
        return 0.0
    slopes = (values[later] - values[earlier]) / apart
    return float(np.median(slopes) * np.ptp(times))

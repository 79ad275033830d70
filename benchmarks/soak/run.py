"""The whole of it: servers, load, faults, rest, and what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.machine import describe_commit, usable_cores
from benchmarks.rounds import Say
from benchmarks.soak import counters
from benchmarks.soak.bad_input import all_bad_input, chooser
from benchmarks.soak.faults import break_things, plan
from benchmarks.soak.ledger import Ledger
from benchmarks.soak.processes import shared_memory
from benchmarks.soak.report import Report
from benchmarks.soak.rotation import rotate
from benchmarks.soak.servers import DEADLINE_SECONDS, START_SECONDS, Servers
from benchmarks.soak.traffic import Traffic, known_answers
from benchmarks.soak.user import User
from benchmarks.soak.watch import DESCRIPTORS_ALLOWED, MIB, Watch
from triton_models.vectors.formats import encode_vector, read_vector

LOG_BYTES_ALLOWED = 4096
"""Of all logs together, for each request. The audit log and the gateway's have a line of some 300
bytes each; a fault adds pages to Triton's."""


@dataclass(frozen=True, slots=True)
class SoakOptions:
    """What to run.

    Attributes:
        folder: Where logs, samples and the report go; it is empty.
        requests: After how many the load ends, whatever the time.
        interval: Seconds between two samples of the processes.
    """

    minutes: float
    folder: Path
    seed: int = 0
    users: int = 12
    requests: int = 1_000_000
    interval: float = 5.0
    say: Say = print


async def soak(options: SoakOptions) -> Report:
    """Runs it and returns what came of it, which also lies in the folder.

    Raises:
        StartError: The servers did not come up.
    """
    commit = describe_commit()
    ledger = Ledger()
    report = Report(
        f"{options.minutes:g} minutes, {options.users} users, {usable_cores()} cores, seed "
        f"{options.seed}, commit {str(commit['commit'])[:9]}{' with changes' * commit['changed']}",
        ledger,
    )
    options.say("starting the servers ...")
    async with Servers(options.folder, options.seed) as servers:
        await _use(servers, options, report)
        family = servers.processes()
    left = [each.role for each in family if each.alive]
    if left:
        report.leaks.append(f"processes that outlived their stop: {', '.join(left)}")
    kept = shared_memory(servers.shared_memory)
    if kept.files:
        report.leaks.append(f"{kept.files} files of {kept.size} bytes left in /dev/shm")
    ledger.settle()
    with (options.folder / "losses.jsonl").open("w") as file:
        file.writelines(json.dumps(asdict(loss)) + "\n" for loss in ledger.losses)
    (options.folder / "report.md").write_text(report.markdown())
    return report


async def _use(servers: Servers, options: SoakOptions, report: Report) -> None:
    uploads = _uploads(servers.vectors)
    traffic = Traffic(
        servers,
        report.ledger,
        await known_answers(servers),
        chooser(all_bad_input(servers.keys.user, servers.keys.admin)),
        uploads,
        options.requests,
    )
    watch = Watch(servers, options.folder / "samples.jsonl", options.interval)
    at_rest = watch.sample()
    counted = await counters.scrape(servers.first.port, servers.keys.user)
    options.say("load ...")
    await _load(servers, options, traffic, watch)
    options.say("rest ...")
    report.leaks += await counters.settled(lambda: counters.busy(servers))
    report.miscounts += await counters.uncounted(servers, traffic, counted)
    report.miscounts += await counters.audit(servers, uploads["soak.json"])
    report.leaks += await counters.settled(lambda: counters.busy(servers))
    report.growth = watch.growth()
    for growth in report.growth:
        report.leaks += [f"{growth.role} ({growth.pid}): {leak}" for leak in growth.leaks]
    report.leaks += await counters.settled(lambda: _more_than_at_rest(at_rest, watch))
    requests = max(1, report.ledger.total)
    per_request = watch.log_bytes / requests
    report.notes["requests"] = f"{requests} ({requests / 60 / options.minutes:.1f} a second)"
    report.notes["logs"] = f"{per_request:.0f} bytes a request"
    if per_request > LOG_BYTES_ALLOWED:
        report.leaks.append(
            f"logs: {per_request:.0f} bytes a request, {LOG_BYTES_ALLOWED} are allowed"
        )
    report.notes["the supervisor's repairs"] = await counters.supervisor_says(servers)
    first, last = watch.shared_memory[0], watch.shared_memory[-1]
    report.notes["/dev/shm"] = (
        f"{first.files} files, {first.size / MIB:.0f} MiB at first; "
        f"{last.files} files, {last.size / MIB:.0f} MiB at the end"
    )
    if not first.files:
        report.leaks.append("no shared memory of these servers was found: it was not watched")
    if last.files > first.files:
        report.leaks.append(f"/dev/shm: {last.files} files, {first.files} at first")


async def _load(servers: Servers, options: SoakOptions, traffic: Traffic, watch: Watch) -> None:
    seconds = 60 * options.minutes
    users = [
        asyncio.create_task(User(number, options.seed, traffic).run())
        for number in range(options.users)
    ]
    planned = plan(seconds, random.Random(options.seed))
    faults = asyncio.create_task(break_things(planned, servers, traffic.ledger))
    rotation = asyncio.create_task(rotate(servers, traffic))
    sampling = asyncio.create_task(watch.run())
    try:
        # One that fails is a defect of this program, and ends it.
        await asyncio.wait(users, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        # A fault that has begun is seen to its end under load.
        await asyncio.wait([faults], timeout=START_SECONDS)
        traffic.stopping.set()
        await asyncio.wait([*users, rotation], timeout=2 * DEADLINE_SECONDS)
    finally:
        for task in (*users, faults, rotation, sampling):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _more_than_at_rest(before: Mapping[str, int], watch: Watch) -> list[str]:
    """Returns which idle processes have more descriptors than before there was any load."""
    now = watch.sample()
    return [
        f"{role}: {now[role] - count} more descriptors at rest than before the load"
        for role, count in before.items()
        if now[role] - count > DESCRIPTORS_ALLOWED
    ]


def _uploads(folder: Path) -> dict[str, bytes]:
    vector = read_vector(folder / "sarcasm.json")
    return {
        f"soak{suffix}": encode_vector(vector, suffix)
        for suffix in (".json", ".safetensors", ".gguf", ".pt", ".svec")
    }

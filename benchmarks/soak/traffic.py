"""What all users share: requests are numbered, judged and put into the ledger."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from benchmarks.soak.bad_input import CHAT, GENERATE, JSON, BadInput
from benchmarks.soak.ledger import Entry, Ledger
from benchmarks.soak.servers import DEADLINE_SECONDS, GatewayProcess, Servers
from benchmarks.soak.verdicts import AnswerKind, Expected, Outcome, Verdict, judge
from benchmarks.soak.wire import WireCall, exchange

BASELINE = f"{GENERATE}/baseline"
COMPARE = "/api/v1/compare"
SWEEP = "/api/v1/sweep"

PROMPTS = (
    "Tell me about quantum computing.",
    "How do I bake bread?",
    "What should I know about the sea?",
    "Schreib mir etwas über Züge. \U0001f682 再见",
)


@dataclass(frozen=True, slots=True)
class Reference:
    """A request whose answer never changes, and that answer, from before there was any load."""

    path: str
    body: Mapping[str, Any]
    kind: AnswerKind
    text: str = ""


_GREEDY = {"temperature": 0.0, "max_tokens": 60}

REFERENCES = (
    Reference(
        GENERATE,
        {**_GREEDY, "prompt": PROMPTS[0], "trait": "sarcasm", "scalar": 2.0, "seed": 1},
        AnswerKind.GENERATED,
    ),
    Reference(
        GENERATE,
        {
            **_GREEDY,
            "prompt": PROMPTS[3],
            "trait": "racism",
            "scalar": -1.5,
            "seed": 2,
            "positions": "response",
            "stream": True,
        },
        AnswerKind.GENERATED,
    ),
    Reference(BASELINE, {**_GREEDY, "prompt": PROMPTS[1]}, AnswerKind.GENERATED),
    Reference(
        CHAT,
        {
            "model": "persona",
            "messages": [{"role": "user", "content": PROMPTS[2]}],
            "temperature": 1.0,
            "seed": 7,
            "max_tokens": 60,
            "steering": {"traits": [{"name": "flattery", "scalar": 1.0}]},
        },
        AnswerKind.CHAT,
    ),
    Reference(
        SWEEP,
        {
            **_GREEDY,
            "prompt": PROMPTS[0],
            "trait": "flattery",
            "scalars": [-1.0, 0.0, 1.0],
            "seed": 3,
            "max_tokens": 30,
        },
        AnswerKind.COMPARED,
    ),
)


@dataclass
class Traffic:
    """What all users share.

    Attributes:
        reached: By path, the requests to the first gateway that it must have counted, and those
            that it may have.
    """

    servers: Servers
    ledger: Ledger
    references: tuple[Reference, ...]
    bad: Callable[[random.Random], BadInput]
    uploads: Mapping[str, bytes]
    most: int
    reached: dict[str, Counter[str]] = field(
        default_factory=lambda: {"must": Counter(), "may": Counter()}
    )
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _numbers: count[int] = field(default_factory=lambda: count(1))

    def next_id(self) -> str:
        """Returns a request's id."""
        return f"soak-{next(self._numbers):07d}"

    @property
    def over(self) -> bool:
        """Whether no more requests are to be sent."""
        return self.stopping.is_set() or self.ledger.total >= self.most

    async def settle(
        self,
        action: str,
        gateway: GatewayProcess,
        path: str,
        request_id: str,
        work: Awaitable[Verdict],
    ) -> Verdict:
        """Sees a request to its end and puts it into the ledger."""
        began, broken = time.monotonic(), False
        try:
            verdict = await asyncio.wait_for(work, DEADLINE_SECONDS)
        except asyncio.TimeoutError:
            verdict = Verdict(Outcome.LOST, f"no end within {DEADLINE_SECONDS:.0f} s")
        except OSError as error:
            broken = True
            verdict = Verdict(Outcome.FAILED, f"the connection failed: {error!r}")
        entry = Entry(
            request_id, action, gateway.name, began, time.monotonic(), verdict.detail, broken
        )
        self.ledger.record(entry, verdict)
        if gateway is self.servers.first:
            sure = verdict.outcome not in (Outcome.CUT, Outcome.LOST) and action != "bad input"
            self.reached["must" if sure and not broken else "may"][path.partition("?")[0]] += 1
        return verdict


async def known_answers(servers: Servers) -> tuple[Reference, ...]:
    """Returns the references with their answers.

    Raises:
        ValueError: One is not answered.
    """
    found = []
    for known in REFERENCES:
        headers = {**JSON, "authorization": f"Bearer {servers.keys.user}"}
        call = WireCall("POST", known.path, headers, json.dumps(known.body).encode())
        reply = await exchange(servers.first.port, call)
        verdict = judge(reply, Expected(known.kind, bool(known.body.get("stream"))), "")
        if verdict.outcome is not Outcome.ANSWERED:
            raise ValueError(f"{known.path} is not answered before any load: {verdict.detail}")
        found.append(replace(known, text=verdict.text))
    return tuple(found)

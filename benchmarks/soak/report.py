"""The report: what was done, what came of it, and whether anything was lost or leaked."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from benchmarks.soak.ledger import Ledger
from benchmarks.soak.verdicts import Outcome
from benchmarks.soak.watch import MIB, Growth
from persona_research.markdown import markdown_table

MAX_LISTED = 50


@dataclass
class Report:
    """What came of it all."""

    title: str
    ledger: Ledger
    growth: list[Growth] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    miscounts: list[str] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def sound(self) -> bool:
        """Whether nothing was lost and nothing leaked."""
        return not (self.ledger.losses or self.leaks or self.miscounts)

    def markdown(self) -> str:
        """Returns the report, for docs/reliability.md."""
        outcomes = [each.value for each in Outcome]
        processes = ["process", "lives", "watched", "memory (PSS)", "grew by"]
        faults = ["fault", "times", "served again after, median", "longest"]
        parts = [
            self.title,
            markdown_table(["action", "requests", *outcomes], self._actions()),
            markdown_table(faults, self._faults()),
            markdown_table([*processes, "descriptors", "threads"], self._processes()),
            markdown_table(["", ""], self.notes.items()),
            *_listed("Lost", [_loss(each) for each in self.ledger.losses]),
            *_listed("Leaked", self.leaks),
            *_listed("Miscounted", self.miscounts),
            "Nothing was lost and nothing leaked." if self.sound else "**Not sound.**",
        ]
        return "\n\n".join(parts) + "\n"

    def _actions(self) -> Iterable[Sequence[str]]:
        actions = sorted({action for action, _ in self.ledger.counts})
        for action in actions:
            counts = [self.ledger.of(outcome, [action]) for outcome in Outcome]
            yield [action, str(sum(counts)), *(str(count or "") for count in counts)]
        sums = [self.ledger.of(outcome) for outcome in Outcome]
        yield ["**all**", str(sum(sums)), *(str(each) for each in sums)]

    def _faults(self) -> Iterable[Sequence[str]]:
        seconds = defaultdict(list)
        for fault in self.ledger.faults:
            seconds[fault.kind].append(fault.seconds)
        for kind, each in seconds.items():
            median = statistics.median(each)
            yield [kind, str(len(each)), f"{median:.1f} s", f"{max(each):.1f} s"]

    def _processes(self) -> Iterable[Sequence[str]]:
        lives = defaultdict(list)
        for growth in self.growth:
            lives[growth.role].append(growth)
        for role, each in sorted(lives.items()):
            longest = max(each, key=lambda growth: growth.seconds)
            worst = max((g for g in each if g.judged), key=lambda g: g.memory, default=None)
            yield [
                role,
                str(len(each)),
                f"{sum(growth.seconds for growth in each) / 60:.1f} min",
                f"{longest.last.proportional / MIB:.0f} MiB",
                f"{worst.memory / MIB:+.1f} MiB" if worst else "too short",
                f"{longest.first.descriptors} to {longest.last.descriptors}",
                f"{longest.first.threads} to {longest.last.threads}",
            ]


def _loss(entry: object) -> str:
    return " ".join(
        str(getattr(entry, name)) for name in ("request_id", "action", "gateway", "detail")
    )


def _listed(head: str, lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    shown = [f"- {line}" for line in lines[:MAX_LISTED]]
    if len(lines) > MAX_LISTED:
        shown.append(f"- and {len(lines) - MAX_LISTED} more")
    return [f"{head} ({len(lines)}):\n\n" + "\n".join(shown)]

"""What a Prometheus server would read of a page of metrics."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]


class Scrape:
    """The values of one scrape."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.values: dict[tuple[str, Labels], float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self.values[sample.name, frozenset(sample.labels.items())] = sample.value

    def get(self, name: str, **labels: str) -> float:
        """Returns the sum of the values that have the labels, 0 when there is none."""
        wanted = labels.items()
        return sum(
            value for (each, has), value in self.values.items() if each == name and wanted <= has
        )

    def labels(self, label: str, of: str | None = None) -> set[str]:
        """Returns all values of a label, of one metric or of all."""
        return {
            value
            for name, has in self.values
            if of in (None, name)
            for each, value in has
            if each == label
        }

    @property
    def names(self) -> set[str]:
        """What a query can name: of the families that are described, with samples or without."""
        names = {name for name, _ in self.values}
        for line in self.text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                parts = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
                names |= {f"{name}{part}" for part in parts}
        return names


def rises(before: Scrape, after: Scrape) -> Callable[..., float]:
    """Returns a function that says by how much a value has risen."""
    return lambda name, **labels: after.get(name, **labels) - before.get(name, **labels)

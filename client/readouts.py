"""What calls return of monitored traits: the projections of hidden states on their directions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Readouts = Mapping[str, Mapping[int, float]]
"""For each monitored trait its mean projection at each block."""


def read_readouts(body: Mapping[str, Mapping[str, float]]) -> Readouts:
    """Reads what the server says about monitored traits."""
    return {trait: by_block(means) for trait, means in body.items()}


def by_block(numbers: Mapping[str, float]) -> dict[int, float]:
    """Reads a JSON object of numbers by block."""
    return {int(block): number for block, number in numbers.items()}


@dataclass(frozen=True)
class CalibratedMean:
    """What an answer's mean projection says beside the calibration of the trait's vector.

    Attributes:
        percentile: Of the mean among those of neutral answers, 0 to 100.
        pole: Where the mean is between those under the trait's negative (0) and positive (1) system
            prompts; below or above beyond them, `None` if both are the same.
    """

    percentile: float
    pole: float | None


CalibratedReadouts = Mapping[str, Mapping[int, CalibratedMean]]
"""For each monitored trait with a calibrated vector what its readouts say."""


def read_calibrated_readouts(body: Mapping[str, Any]) -> CalibratedReadouts:
    """Reads what the server says about calibrated traits."""
    return {
        trait: {
            int(block): CalibratedMean(mean["percentile"], mean["pole"])
            for block, mean in means.items()
        }
        for trait, means in body.items()
    }


@dataclass(frozen=True)
class TurnReadout:
    """What was read in a turn of a prompt.

    Attributes:
        role: Whose turn it is: `system`, `user`, `assistant` or `tool`.
        readouts: The means over the tokens of its content.
    """

    role: str
    readouts: Readouts


def read_turn_readouts(items: Iterable[Mapping[str, Any]]) -> tuple[TurnReadout, ...]:
    """Reads what the server says about turns."""
    return tuple(TurnReadout(item["role"], read_readouts(item["readouts"])) for item in items)


@dataclass(frozen=True)
class TokenProjection:
    """The projection of a token's hidden state on a direction.

    Attributes:
        before: Before the block's output was steered.
        after: What the model went on with.
        percentile: Of that among the tokens of neutral answers, 0 to 100; `None` if the vector is
            not calibrated.
    """

    before: float
    after: float
    percentile: float | None = None


@dataclass(frozen=True)
class TokenReadout:
    """What was read at a token of an answer.

    Attributes:
        token: Its text, or a special token's name.
        readouts: By trait and block; none by trait for a last token, whose state is not computed.
    """

    token: str
    readouts: Mapping[str, Mapping[int, TokenProjection]]


def read_token_readouts(items: Iterable[Mapping[str, Any]]) -> tuple[TokenReadout, ...]:
    """Reads what the server says about tokens."""
    return tuple(
        TokenReadout(
            item["token"],
            {
                trait: {int(block): _projection(read) for block, read in blocks.items()}
                for trait, blocks in item["readouts"].items()
            },
        )
        for item in items
    )


def _projection(read: Mapping[str, float]) -> TokenProjection:
    return TokenProjection(read["before"], read["after"], read.get("percentile"))

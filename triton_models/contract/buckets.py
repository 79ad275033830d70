"""Upper bounds of the histograms that the engine and the gateway both export.

With the same buckets their latencies can be compared: a client waits for the engine and for the
path to it.
"""

FIRST_TOKEN_SECONDS = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
"""For the time from a request's arrival to its first token: from a reused prompt on a GPU to the
gateway's default timeout."""

BETWEEN_TOKENS_SECONDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
)  # fmt: skip
"""For the time between two tokens of an answer: from a small model on a GPU to a visible stall;
from 10 to 250 ms, around reading speed, the bounds about double."""

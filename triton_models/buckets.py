"""Upper bounds of histograms that the engine and the gateway both have, so that they compare.

What a client waits for is the engine's time and the way to it: only buckets of the same size show
which of the two has grown.
"""

FIRST_TOKEN_SECONDS = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
"""Of the time from a request's arrival to its first token: from a reused prompt on a GPU to the
most that the gateway waits for by default."""

BETWEEN_TOKENS_SECONDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
)  # fmt: skip
"""Of the time between two tokens of an answer: from a small model on a GPU to what a reader takes
for a stall; between 10 and 250 ms, where reading speed is, each bucket is about twice the last."""

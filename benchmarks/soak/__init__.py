"""Hours of use in one: mixed load, faults and changes on the real servers, every request accounted.

`python -m benchmarks.soak --minutes 60` starts the servers, drives them, and says at the end what
was lost and what leaked. What it promises and how is in docs/reliability.md.
"""

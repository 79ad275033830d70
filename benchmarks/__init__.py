"""What the engine and the servers around it deliver, measured beside what one would do without.

`python -m benchmarks` runs it; docs/benchmarks.md says what is measured and how to read it.
"""

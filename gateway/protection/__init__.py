"""Who may do what, how much of it, and what is written down about it.

`access` lets requests in by `keys`, `rate_limits` bounds how many come, `policy` says which
steering a role may ask for, `audit` writes down what was steered. `protection` puts them together.
What they know about who sends a request is a `Caller`.
"""

"""Who may do what, how much of it, and what is written down about it.

`guard` is the middleware: it lets requests in by the names that `hosts` knows, by `access` with its
`keys`, and by `rate_limits`. `policy` says which steering a role may ask for, `audit` writes down
what was steered. `protection` puts them together. Who sends a request is a `Caller`.
"""

"""The REST gateway: plain HTTP in front of Triton's gRPC.

A request flows one way: `http` gives it an id and bounds it, `protection` lets it in, `api` makes
a validated request of its body, `generation` sends that to one of the servers of `triton` and
follows the answer. `observability` shows what happened, which `request_record` says. Imports run
downward in this order: `app`, `api`, `generation`, `triton` and `traits`, `protection`,
`observability`, `http`, and the modules beside these folders.
"""

__version__ = "0.1.0"

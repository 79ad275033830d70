"""The REST gateway: plain HTTP in front of Triton's gRPC.

A request flows one way: `middleware` gives it an id, `schemas` validate it, `routes` start a
`generation`, which `triton_client` sends to one of the `endpoints`; `errors` turn whatever goes
wrong into a status and a sentence. Beside that path, `health` looks at
each server, which the supervisor beside it (`launcher/`) repairs.
"""

__version__ = "0.1.0"

"""Which of several Triton servers gets a request: one that works, with the least to do.

gRPC's own balancing would not do. It takes an endpoint for healthy while there is a connection,
unless the server's health service says otherwise; Triton's has no `Watch`, which is what clients
would ask, and its `Check` calls a server whose model's process is dead healthy. Such a server fails
every request at once: it would get its full share of them, for ever. Besides, a request can only be
stopped where it runs, and a model only be reloaded where it died.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable

from gateway.triton.server import TritonServer


def choose(
    servers: Iterable[TritonServer], tried: Collection[TritonServer] = ()
) -> TritonServer | None:
    """Returns the server for a request, or `None` if there is none.

    A doubtful one gets a request only if there is no other: it may be alone, and well again.
    """
    able = [server for server in servers if not server.refuses and server not in tried]
    # Equals take turns by chance, since other gateways choose among them too.
    return min(
        able,
        key=lambda server: (server.doubtful, server.open_requests, random.random()),
        default=None,
    )

"""The Triton servers that there are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from typing import Any

from gateway.errors import GatewayError, UnreachableError
from gateway.observability.metrics import GatewayMetrics
from gateway.triton.balancing import choose
from gateway.triton.server import TritonServer
from gateway.triton_addresses import TritonAddresses

_logger = logging.getLogger(__name__)

_LOOK_UP_SECONDS = 5.0

Watch = Callable[[TritonServer, Callable[[], None]], Coroutine[Any, Any, None]]
"""Looks after a server until it is cancelled, and calls its argument after each look."""


class TritonServers:
    """Keeps a channel to each server, and somebody looking after it, unless `watch` is `None`."""

    def __init__(
        self,
        targets: TritonAddresses,
        metrics: GatewayMetrics,
        watch: Watch | None,
        access_key: str = "",
    ) -> None:
        self._targets = targets
        self._metrics = metrics
        self._watch = watch
        self._access_key = access_key
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._others: set[asyncio.Task[None]] = set()
        self._servers: dict[str, TritonServer] = {}

    @property
    def all(self) -> tuple[TritonServer, ...]:
        """All of them."""
        return tuple(self._servers.values())

    async def open(self) -> None:
        """Opens the channels; a name without addresses is looked up again later."""
        self._become(self._targets.fixed)
        if self._targets.is_dynamic:
            await self._look_up()
            self._others.add(asyncio.create_task(self._look_up_again()))

    async def close(self) -> None:
        """Closes all channels."""
        tasks = {*self._tasks.values(), *self._others}
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        await asyncio.gather(*(server.close() for server in self.all))

    @property
    def some_work(self) -> bool:
        """Whether one works, as far as somebody has looked."""
        return any(server.at_work and not server.doubtful for server in self.all)

    def choose(self, tried: Collection[TritonServer] = ()) -> TritonServer | None:
        """Returns the one for a request, if there is one that works and has not been tried."""
        return choose(self.all, tried)

    def any(self, tried: Collection[TritonServer]) -> TritonServer:
        """Returns one that has not been tried, whatever is known of it.

        Raises:
            UnreachableError: There is none.
        """
        for server in self.all:
            if server not in tried:
                return server
        raise self.outage()

    def outage(self) -> GatewayError:
        """Returns the error for a request that there is no server for."""
        for server in self.all:
            if server.outage is not None:
                return server.outage.with_traceback(None)
        return UnreachableError("no model server is known: TRITON_URL names none that exists")

    def _note_condition(self) -> None:
        """Shows in the metrics how many work, as far as somebody has looked."""
        self._metrics.endpoints_seen(sum(each.at_work for each in self.all), len(self.all))

    async def _look_up_again(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_UP_SECONDS)
            await self._look_up()

    async def _look_up(self) -> None:
        try:
            addresses = await self._targets.look_up()
        except OSError as error:
            # A name server that is away for a while takes no model server with it.
            _logger.warning("TRITON_URL cannot be looked up", extra={"reason": str(error)})
        except Exception:  # a task that died would find no new server any more
            _logger.exception("looking TRITON_URL up failed")
        else:
            self._become(addresses)

    def _become(self, addresses: Collection[str]) -> None:
        for address in addresses:
            if address not in self._servers:
                server = TritonServer(address, self._metrics, self._access_key)
                self._servers[address] = server
                if self._watch is not None:
                    watching = self._watch(server, self._note_condition)
                    self._tasks[address] = asyncio.create_task(watching)
        for address in set(self._servers) - set(addresses):
            task = asyncio.create_task(self._let_go(self._servers.pop(address)))
            self._others.add(task)
            task.add_done_callback(self._others.discard)

    async def _let_go(self, server: TritonServer) -> None:
        """Closes a channel when the last of its generations has ended."""
        watching = self._tasks.pop(server.address, None)
        if watching is not None:
            watching.cancel()
        try:
            while server.open_requests:
                await asyncio.sleep(1.0)
        finally:
            await server.close()

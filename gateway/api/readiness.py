"""Whether some server works, as `/health/ready` and `/status` say it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from gateway.api.cached_call import CachedCall
from gateway.errors import GatewayError
from gateway.observability.metrics import GatewayMetrics


class Readiness:
    """Believes whoever looks at the servers all the time, and asks itself where nobody does."""

    def __init__(
        self,
        some_work: Callable[[], bool],
        ask: Callable[[], Coroutine[Any, Any, None]],
        metrics: GatewayMetrics,
        max_age: float,
    ) -> None:
        self._some_work = some_work
        self._ask = ask
        self._metrics = metrics
        self._asked = CachedCall(self._ask_and_tell, max_age)

    async def get(self) -> None:
        """Returns if a server works.

        Raises:
            GatewayError: None does.
        """
        if not self._some_work():
            await self._asked.get()

    async def _ask_and_tell(self) -> None:
        try:
            await self._ask()
        except GatewayError:
            self._metrics.model_seen(False)
            raise
        self._metrics.model_seen(True)

"""What the gateway asks of the Triton servers."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from gateway.ensemble_request import EnsembleRequest
from gateway.errors import GatewayError, OverloadedError, UnavailableError
from gateway.generation import client_deadline
from gateway.generation.generation import MAX_ATTEMPTS, Deadlines, Generation
from gateway.generation.observed_generation import ObservedGeneration
from gateway.generation.queue_times import QueueTimes
from gateway.observability.metrics import GatewayMetrics
from gateway.request_record import Observer, RequestRecord, current_request
from gateway.triton.server import ASK_TIMEOUT, Attempt, TritonServer
from gateway.triton.servers import TritonServers
from triton_models.contract import tensors
from triton_models.grpc_messages import Encoded, encode_request

T = TypeVar("T")

_logger = logging.getLogger(__name__)

_CLOSE_PATIENCE = 3.0

Admit = Callable[[RequestRecord | None, EnsembleRequest], Awaitable[EnsembleRequest]]
"""Returns what may be sent for a client that asks; raises a `GatewayError` if nothing may."""


class Dispatcher:
    """Sends generations as `admit` lets them pass, and questions, to the servers that work."""

    def __init__(
        self,
        servers: TritonServers,
        deadlines: Deadlines,
        max_open: int,
        metrics: GatewayMetrics,
        observers: Sequence[Observer],
        admit: Admit,
    ) -> None:
        self._servers = servers
        self._deadlines = deadlines
        self._max_open = max_open
        self._metrics = metrics
        self._waits = QueueTimes()
        self._observers = (*observers, self._waits)
        self._admit = admit
        self._open: set[Generation] = set()
        self._background: set[asyncio.Task[None]] = set()

    async def settle(self) -> None:
        """Waits a little for generations that are being stopped."""
        if self._background:
            await asyncio.wait(set(self._background), timeout=_CLOSE_PATIENCE)

    async def generate(self, request: EnsembleRequest) -> Generation:
        """Prepares a generation of the `persona` ensemble; entering its context starts it.

        Raises:
            GatewayError: The client may not have it, or not in the time that it gives.
        """
        (generation,) = await self.generate_all([request])
        return generation

    async def generate_all(self, requests: Sequence[EnsembleRequest]) -> list[Generation]:
        """Prepares several, which may share inputs: what is the same object is encoded once.

        Raises:
            GatewayError: The client may not have one of them, or not in the time that it gives.
        """
        asking = current_request.get()
        encoded: Encoded = {}
        admitted = [await self._admit(asking, request) for request in requests]
        prepared = []
        for request in admitted:
            prepared.append(self._prepared(request, asking, encoded))
            # Each has its own copy of what they share, which may be megabytes.
            await asyncio.sleep(0)
        return prepared

    def _prepared(
        self, request: EnsembleRequest, asking: RequestRecord | None, encoded: Encoded
    ) -> Generation:
        limits = self._deadlines
        if not request.parsed.stream:
            # The first response is the whole answer.
            limits = Deadlines(limits.total, limits.total, limits.total, streamed=False)
        limits = client_deadline.within(limits, asking)
        triton_id = _triton_id(asking)
        message = encode_request(tensors.PERSONA, triton_id, request.values, encoded)
        watch = ObservedGeneration(triton_id, request, asking, self._observers)
        return Generation(triton_id, message, self, limits, watch)

    async def describe(self, timeout: float = ASK_TIMEOUT) -> dict[str, Any]:
        """Returns what a model that works says about itself, its traits and its engine.

        Raises:
            GatewayError: None can be asked.
        """
        return await self.ask_one(lambda server: server.describe(timeout))

    async def ask_one(self, question: Callable[[TritonServer], Awaitable[T]]) -> T:
        """Asks servers until one answers, those first that are not known to fail.

        Raises:
            GatewayError: None did.
        """
        tried: list[TritonServer] = []
        while True:
            server = self._servers.choose(tried) or self._servers.any(tried)
            try:
                return await question(server)
            except UnavailableError as error:
                server.failed(error)
                tried.append(server)
                if len(tried) >= min(MAX_ATTEMPTS, len(self._servers.all)):
                    raise

    def enter(self, generation: Generation) -> None:
        """Notes that a generation begins.

        Raises:
            OverloadedError: There are too many.
        """
        if len(self._open) >= self._max_open:
            error = OverloadedError(
                f"the gateway has {self._max_open} open requests, as many as it takes "
                "(MAX_OPEN_REQUESTS): try again soon"
            )
            self.advise(error)
            raise error
        self._open.add(generation)

    def leave(self, generation: Generation) -> None:
        """Notes that a generation has ended, or that nobody reads it; perhaps again."""
        self._open.discard(generation)

    def send(
        self, request_id: str, request: Any, tried: Sequence[TritonServer], timeout: float
    ) -> Attempt:
        """Sends a request to a server that has not been tried.

        Raises:
            GatewayError: There is none.
        """
        server = self._servers.choose(tried)
        if server is None:
            raise self._servers.outage()
        return server.send(request_id, request, timeout)

    def sent_again(self, request_id: str, error: GatewayError) -> None:
        """Notes that a request was sent to another server because of an error."""
        self._metrics.generation_retried(error)
        _logger.warning(
            "a request is sent to another server",
            extra={"triton_id": request_id, "reason": error.detail or error.message},
        )

    def advise(self, error: GatewayError) -> None:
        """Makes an error that is about load say when to try again."""
        self._waits.advise(error)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs a coroutine to its end in the background; `settle` waits for it a little."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._has_run)

    def _has_run(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _logger.error("work in the background failed", exc_info=error)


def _triton_id(request: RequestRecord | None) -> str:
    """Returns a name for a generation that is found by its request's and is nobody else's.

    `stop` ends whatever has a name, and a client may send one twice, or somebody else's: what
    follows it is ours.
    """
    own = uuid.uuid4().hex
    return f"{request.id}/{own[:16]}" if request else own

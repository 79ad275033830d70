"""What the gateway asks of the Triton servers."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from gateway.errors import GatewayError, OverloadedError, UnavailableError, error_of_response
from gateway.generation import client_deadline
from gateway.generation.generation import MAX_ATTEMPTS, Deadlines, Generation
from gateway.generation.observed_generation import ObservedGeneration
from gateway.generation.queue_times import QueueTimes
from gateway.observability.metrics import GatewayMetrics
from gateway.request_record import Observer, RequestRecord, current_request
from gateway.triton.attempt import Attempt, Engine
from gateway.triton.server import ASK_TIMEOUT, TritonServer
from gateway.triton.servers import TritonServers
from triton_models import tensors
from triton_models.errors import RequestError
from triton_models.grpc_messages import Encoded, Values, encode_request
from triton_models.request import parse_generation_request
from triton_models.settings import GenerationDefaults
from triton_models.text.prompt import prompt_of

T = TypeVar("T")

_logger = logging.getLogger(__name__)

_CLOSE_PATIENCE = 3.0


class Dispatcher:
    """Sends generations and questions to the servers that work.

    Args:
        endpoints: The servers.
        deadlines: How long generations may take.
        max_open: How many generations may be open at once.
        metrics: What counts requests that are sent again.
        observers: Who is told about generations.
        admit: Raises if a request may not have a generation with these inputs.
    """

    def __init__(
        self,
        endpoints: TritonServers,
        deadlines: Deadlines,
        max_open: int,
        metrics: GatewayMetrics,
        observers: Sequence[Observer],
        admit: Callable[[RequestRecord | None, Values], None],
    ) -> None:
        self._endpoints = endpoints
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

    def generate(self, values: Values) -> Generation:
        """Prepares a generation of the `persona` ensemble; entering its context starts it.

        Raises:
            GatewayError: The request may not have it, or not in the time that it gives.
        """
        (generation,) = self.generate_all([values])
        return generation

    def generate_all(self, variants: Sequence[Values]) -> list[Generation]:
        """Prepares several, which may share inputs: what is the same object is looked at once.

        Raises:
            GatewayError: The request may not have one of them, or not in the time that it gives.
        """
        asking = current_request.get()
        prompts: set[tuple[int, ...]] = set()
        encoded: Encoded = {}
        for values in variants:
            self._admit(asking, values)
            prompt = tuple(id(values.get(spec.name)) for spec in tensors.PROMPT_INPUTS)
            _refuse_invalid(values, with_prompt=prompt not in prompts)
            prompts.add(prompt)
        return [self._prepared(values, asking, encoded) for values in variants]

    def _prepared(
        self, values: Values, asking: RequestRecord | None, encoded: Encoded
    ) -> Generation:
        limits = self._deadlines
        if not values.get("stream", (False,))[0]:
            # The first response is the whole answer.
            limits = Deadlines(limits.total, limits.total, limits.total, streamed=False)
        limits = client_deadline.within(limits, asking)
        triton_id = _triton_id(asking)
        request = encode_request(tensors.PERSONA, triton_id, values, encoded)
        watch = ObservedGeneration(triton_id, values, asking, self._observers)
        return Generation(triton_id, request, self, limits, watch)

    async def describe(self, timeout: float = ASK_TIMEOUT) -> dict[str, Any]:
        """Returns what a model that works says about itself, its traits and its engine.

        Args:
            timeout: How many seconds each may take that is asked.

        Raises:
            GatewayError: None can be asked.
        """
        return await self.ask_one(lambda endpoint: endpoint.describe(timeout))

    async def ask_one(self, question: Callable[[TritonServer], Awaitable[T]]) -> T:
        """Asks servers until one answers, those first that are not known to fail.

        Raises:
            GatewayError: None did.
        """
        tried: list[TritonServer] = []
        while True:
            endpoint = self._endpoints.choose(tried) or self._endpoints.any(tried)
            try:
                return await question(endpoint)
            except UnavailableError as error:
                endpoint.failed(error)
                tried.append(endpoint)
                if len(tried) >= min(MAX_ATTEMPTS, len(self._endpoints.all)):
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
        self, request_id: str, request: Any, tried: Sequence[Engine], timeout: float
    ) -> Attempt:
        """Sends a request to a server that has not been tried.

        Raises:
            GatewayError: There is none.
        """
        endpoint = self._endpoints.choose(tried)
        if endpoint is None:
            raise self._endpoints.outage()
        return endpoint.send(request_id, request, timeout)

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


def _refuse_invalid(values: Values, with_prompt: bool) -> None:
    """Refuses what Triton would refuse, by the same rules.

    Many refusals at once have been seen to crash Triton 2.51, which ends their streams itself.

    Args:
        values: The inputs.
        with_prompt: Whether to look at the prompt.

    Raises:
        GatewayError: A value or the prompt cannot be used.
    """
    try:
        # How many tokens a request without `max_tokens` may have is up to the server.
        parse_generation_request(values, GenerationDefaults(max_tokens=2**31 - 1))
        if with_prompt:
            prompt_of(values)
    except RequestError as error:
        raise error_of_response(error.code.value, error.message) from error


def _triton_id(request: RequestRecord | None) -> str:
    """Returns a name for a generation that is found by its request's and is nobody else's.

    `stop` ends whatever has a name, and a client may send one twice, or somebody else's: what
    follows it is ours.
    """
    own = uuid.uuid4().hex
    return f"{request.id}/{own[:16]}" if request else own

"""The asynchronous client of the gateway: as `persona_client.rest`, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

import httpx

from persona_client import calls, protocol
from persona_client.comparisons import (
    AnswerChunk,
    ComparedAnswer,
    Comparison,
    Steering,
    Sweep,
    SweptAnswer,
)
from persona_client.errors import PersonaError
from persona_client.results import Chunk, Completion, Status, Trait
from persona_client.retries import RetryPolicy

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

T = TypeVar("T")
Item = TypeVar("Item")
W = TypeVar("W")


class AsyncStream(Generic[Item, W]):
    """What arrives piece by piece.

    Iterate over it for the pieces; afterwards `whole` is all of it. Leaving the context early
    closes the connection, which stops the generation on the server.
    """

    def __init__(
        self, http: httpx.AsyncClient, retries: RetryPolicy, call: calls.StreamCall[Item, W]
    ) -> None:
        self._http = http
        self._retries = retries
        self._call = call
        self._reader = call.reader()
        self._resources = AsyncExitStack()

    @property
    def whole(self) -> W:
        """What it is in the end.

        Raises:
            RuntimeError: It has not ended.
        """
        return self._reader.whole

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the connection; what is under way is stopped."""
        await self._resources.aclose()

    async def __aiter__(self) -> AsyncIterator[Item]:
        """Yields the pieces.

        Raises:
            PersonaError: The call failed.
        """
        async with self._resources:
            attempts = self._retries.begin()
            while True:
                try:
                    async with aclosing(self._attempt()) as items:
                        async for item in items:
                            yield item
                    return
                except PersonaError as error:
                    if self._reader.begun:
                        raise
                    pause = attempts.pause_after(error)
                await self.aclose()
                await asyncio.sleep(pause)

    async def _attempt(self) -> AsyncGenerator[Item, None]:
        self._reader = self._call.reader()
        request = self._http.stream("POST", self._call.path, json=self._call.body)
        try:
            response = await self._resources.enter_async_context(request)
            if not response.is_success:
                content = await response.aread()
                raise protocol.read_error(response.status_code, response.headers, content)
            async for text in response.aiter_text():
                for item in self._reader.feed(text):
                    yield item
        except httpx.TransportError as error:
            raise protocol.connection_error(self._http.base_url, error) from error
        self._reader.check_ended()


class AsyncCompletionStream(AsyncStream[Chunk, Completion]):
    """An answer that arrives piece by piece."""

    @property
    def completion(self) -> Completion:
        """The whole answer, once the stream has ended.

        Raises:
            RuntimeError: The stream has not ended.
        """
        return self.whole


class AsyncPersonaClient:
    """Talks to a gateway from one event loop; a context manager that closes its connections.

    A call that the server refuses because it is full or not ready, or whose connection fails before
    there is anything of the answer, is made again after a pause.

    Args:
        url: The gateway's address.
        timeout: How many seconds to wait for a response, or between pieces of one.
        retries: How often to make such a call again; 0 never.
        deadline: How many seconds a call may take, all attempts and pauses together (for a stream,
            after how many it is not begun again); `timeout` if left out.
        api_key: A key for the gateway; `PERSONA_API_KEY` of the environment when left out.
    """

    def __init__(
        self,
        url: str = protocol.DEFAULT_URL,
        *,
        timeout: float = protocol.READ_TIMEOUT,
        retries: int = protocol.RETRIES,
        deadline: float | None = None,
        api_key: str | None = None,
    ) -> None:
        self._retries = RetryPolicy(retries, timeout if deadline is None else deadline)
        self._timeout = timeout
        self._http = httpx.AsyncClient(
            base_url=url,
            timeout=protocol.timeouts(timeout),
            headers=protocol.key_headers(api_key),
        )

    async def __aenter__(self) -> AsyncPersonaClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def generate(
        self,
        prompt: str | None,
        *,
        trait: str,
        scalar: float,
        **options: Unpack[protocol.Options],
    ) -> Completion:
        """As `PersonaClient.generate`."""
        return await self._call(calls.generation(prompt, trait, scalar, options))

    async def baseline(self, prompt: str | None, **options: Unpack[protocol.Options]) -> Completion:
        """As `PersonaClient.baseline`."""
        return await self._call(calls.generation(prompt, None, 0.0, options))

    def stream(
        self,
        prompt: str | None,
        *,
        trait: str | None = None,
        scalar: float = 0.0,
        **options: Unpack[protocol.Options],
    ) -> AsyncCompletionStream:
        """As `PersonaClient.stream`."""
        call = calls.generation_stream(prompt, trait, scalar, options)
        return AsyncCompletionStream(self._http, self._retries, call)

    async def compare(
        self,
        prompt: str | None,
        steerings: Iterable[Steering | Mapping[str, float]],
        *,
        baseline: bool = True,
        **options: Unpack[protocol.Sampling],
    ) -> Comparison:
        """As `PersonaClient.compare`."""
        return await self._call(calls.comparison(prompt, steerings, baseline, options))

    def compare_stream(
        self,
        prompt: str | None,
        steerings: Iterable[Steering | Mapping[str, float]],
        *,
        baseline: bool = True,
        **options: Unpack[protocol.Sampling],
    ) -> AsyncStream[AnswerChunk | ComparedAnswer, Comparison]:
        """As `PersonaClient.compare_stream`."""
        call = calls.comparison_stream(prompt, steerings, baseline, options)
        return AsyncStream(self._http, self._retries, call)

    async def sweep(
        self,
        prompt: str | None,
        *,
        trait: str,
        scalars: Sequence[float],
        scores: bool = False,
        **options: Unpack[protocol.Options],
    ) -> Sweep:
        """As `PersonaClient.sweep`."""
        return await self._call(calls.sweep(prompt, trait, scalars, scores, options))

    def sweep_stream(
        self,
        prompt: str | None,
        *,
        trait: str,
        scalars: Sequence[float],
        scores: bool = False,
        **options: Unpack[protocol.Options],
    ) -> AsyncStream[AnswerChunk | SweptAnswer, Sweep]:
        """As `PersonaClient.sweep_stream`."""
        call = calls.sweep_stream(prompt, trait, scalars, scores, options)
        return AsyncStream(self._http, self._retries, call)

    async def traits(self) -> dict[str, Trait]:
        """As `PersonaClient.traits`."""
        return await self._call(calls.traits())

    async def trait(self, name: str) -> Trait:
        """As `PersonaClient.trait`."""
        return await self._call(calls.trait(name))

    async def put_trait(
        self,
        name: str,
        file: Path | str,
        *,
        convention: Literal["block", "hidden-state"] | None = None,
        model_name: str | None = None,
    ) -> Trait:
        """As `PersonaClient.put_trait`."""
        return await self._call(calls.put_trait(name, file, convention, model_name))

    async def delete_trait(self, name: str) -> None:
        """As `PersonaClient.delete_trait`."""
        await self._call(calls.delete_trait(name))

    async def status(self) -> Status:
        """As `PersonaClient.status`."""
        return await self._call(calls.status())

    async def _call(self, call: calls.Call[T]) -> T:
        attempts = self._retries.begin()
        arguments = call.arguments
        while True:
            timeout = protocol.timeouts(min(self._timeout, attempts.seconds_left()))
            try:
                try:
                    return call.read(await self._http.request(**arguments, timeout=timeout))
                except httpx.TransportError as error:
                    raise protocol.connection_error(self._http.base_url, error) from error
            except PersonaError as error:
                if not call.repeatable:
                    raise
                pause = attempts.pause_after(error)
            await asyncio.sleep(pause)

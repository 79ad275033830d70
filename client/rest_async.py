"""The asynchronous client of the gateway: as `client.rest`, awaited."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from client import protocol
from client.results import Chunk, Completion, Status, Trait

if TYPE_CHECKING:
    from typing_extensions import Unpack

T = TypeVar("T")


class AsyncCompletionStream:
    """An answer that arrives piece by piece.

    Iterate over it for the pieces; afterwards `completion` is the whole. Leaving the context early
    closes the connection, which stops the generation on the server.
    """

    def __init__(self, http: httpx.AsyncClient, path: str, body: dict[str, Any]) -> None:
        self._http = http
        self._path = path
        self._body = body
        self._resources = AsyncExitStack()
        self._completion: Completion | None = None

    @property
    def completion(self) -> Completion:
        """The whole answer, once the stream has ended.

        Raises:
            RuntimeError: The stream has not ended.
        """
        if self._completion is None:
            raise RuntimeError("the stream has not ended: iterate over it first")
        return self._completion

    async def __aenter__(self) -> AsyncCompletionStream:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the connection; a generation under way is stopped."""
        await self._resources.aclose()

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        """Yields the pieces.

        Raises:
            PersonaError: The generation failed.
        """
        async with self._resources, aclosing(self._chunks()) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _chunks(self) -> AsyncGenerator[Chunk, None]:
        request = self._http.stream("POST", self._path, json=self._body)
        try:
            response = await self._resources.enter_async_context(request)
            if not response.is_success:
                content = await response.aread()
                raise protocol.read_error(response.status_code, response.headers, content)
            reader = protocol.EventReader()
            async for text in response.aiter_text():
                for event in reader.feed(text):
                    message = protocol.read_event(event)
                    if isinstance(message, Completion):
                        self._completion = message
                    elif message is not None:
                        yield message
        except httpx.TransportError as error:
            raise protocol.connection_error(self._http.base_url, error) from error
        if self._completion is None:
            raise protocol.interrupted("the stream has no end event")


class AsyncPersonaClient:
    """Talks to a gateway from one event loop; a context manager that closes its connections.

    Args:
        url: The gateway's address.
        timeout: How many seconds to wait for a response, or between pieces of one.
    """

    def __init__(
        self, url: str = protocol.DEFAULT_URL, *, timeout: float = protocol.READ_TIMEOUT
    ) -> None:
        limits = httpx.Timeout(timeout, connect=protocol.CONNECT_TIMEOUT)
        self._http = httpx.AsyncClient(base_url=url, timeout=limits)

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
        """Answers a prompt under steering.

        Args:
            prompt: The prompt; `None` when `messages` is among the options.
            trait: The trait to steer.
            scalar: How strongly: above 0 for more of the trait, below for less.
            **options: See `protocol.Options`.

        Raises:
            PersonaError: The call failed.
        """
        return await self._complete(prompt, trait, scalar, options)

    async def baseline(self, prompt: str | None, **options: Unpack[protocol.Options]) -> Completion:
        """Answers a prompt without steering.

        Args:
            prompt: The prompt; `None` when `messages` is among the options.
            **options: See `protocol.Options`.

        Raises:
            PersonaError: The call failed.
        """
        return await self._complete(prompt, None, 0.0, options)

    def stream(
        self,
        prompt: str | None,
        *,
        trait: str | None = None,
        scalar: float = 0.0,
        **options: Unpack[protocol.Options],
    ) -> AsyncCompletionStream:
        """Answers a prompt piece by piece, steered if a trait is named.

        Args:
            prompt: The prompt; `None` when `messages` is among the options.
            trait: The trait to steer, or `None` for a baseline.
            scalar: How strongly.
            **options: See `protocol.Options`.
        """
        path, body = protocol.generation_call(prompt, trait, scalar, options, stream=True)
        return AsyncCompletionStream(self._http, path, body)

    async def traits(self) -> dict[str, Trait]:
        """Returns the server's traits by name.

        Raises:
            PersonaError: The call failed.
        """
        return await self._call("GET", protocol.TRAITS, protocol.read_traits)

    async def trait(self, name: str) -> Trait:
        """Returns one trait.

        Raises:
            NotFoundError: There is no such trait.
            PersonaError: The call failed.
        """
        return await self._call("GET", protocol.trait_path(name), Trait.from_json)

    async def status(self) -> Status:
        """Returns what the server serves and whether it is ready.

        Raises:
            PersonaError: The call failed.
        """
        return await self._call("GET", protocol.STATUS, Status.from_json)

    async def _complete(
        self, prompt: str | None, trait: str | None, scalar: float, options: protocol.Options
    ) -> Completion:
        path, body = protocol.generation_call(prompt, trait, scalar, options, stream=False)
        return await self._call("POST", path, Completion.from_json, body)

    async def _call(
        self,
        method: str,
        path: str,
        read: Callable[[Mapping[str, Any]], T],
        body: dict[str, Any] | None = None,
    ) -> T:
        try:
            response = await self._http.request(method, path, json=body)
        except httpx.TransportError as error:
            raise protocol.connection_error(self._http.base_url, error) from error
        return protocol.read_body(response, read)

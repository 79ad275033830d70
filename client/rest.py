"""The synchronous client of the gateway."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from client import protocol
from client.results import Chunk, Completion, Status, Trait

if TYPE_CHECKING:
    from typing_extensions import Unpack

T = TypeVar("T")


class CompletionStream:
    """An answer that arrives piece by piece.

    Iterate over it for the pieces; afterwards `completion` is the whole. Leaving the context early
    closes the connection, which stops the generation on the server.
    """

    def __init__(self, http: httpx.Client, path: str, body: dict[str, Any]) -> None:
        self._http = http
        self._path = path
        self._body = body
        self._resources = ExitStack()
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

    def __enter__(self) -> CompletionStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; a generation under way is stopped."""
        self._resources.close()

    def __iter__(self) -> Iterator[Chunk]:
        """Yields the pieces.

        Raises:
            PersonaError: The generation failed.
        """
        with self._resources:
            yield from self._chunks()

    def _chunks(self) -> Iterator[Chunk]:
        request = self._http.stream("POST", self._path, json=self._body)
        try:
            response = self._resources.enter_context(request)
            if not response.is_success:
                content = response.read()
                raise protocol.read_error(response.status_code, response.headers, content)
            reader = protocol.EventReader()
            for text in response.iter_text():
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


class PersonaClient:
    """Talks to a gateway. Thread-safe; also a context manager that closes its connections.

    Args:
        url: The gateway's address.
        timeout: How many seconds to wait for a response, or between pieces of one.
    """

    def __init__(
        self, url: str = protocol.DEFAULT_URL, *, timeout: float = protocol.READ_TIMEOUT
    ) -> None:
        limits = httpx.Timeout(timeout, connect=protocol.CONNECT_TIMEOUT)
        self._http = httpx.Client(base_url=url, timeout=limits)

    def __enter__(self) -> PersonaClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def generate(
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
        return self._complete(prompt, trait, scalar, options)

    def baseline(self, prompt: str | None, **options: Unpack[protocol.Options]) -> Completion:
        """Answers a prompt without steering.

        Args:
            prompt: The prompt; `None` when `messages` is among the options.
            **options: See `protocol.Options`.

        Raises:
            PersonaError: The call failed.
        """
        return self._complete(prompt, None, 0.0, options)

    def stream(
        self,
        prompt: str | None,
        *,
        trait: str | None = None,
        scalar: float = 0.0,
        **options: Unpack[protocol.Options],
    ) -> CompletionStream:
        """Answers a prompt piece by piece, steered if a trait is named.

        Args:
            prompt: The prompt; `None` when `messages` is among the options.
            trait: The trait to steer, or `None` for a baseline.
            scalar: How strongly.
            **options: See `protocol.Options`.
        """
        path, body = protocol.generation_call(prompt, trait, scalar, options, stream=True)
        return CompletionStream(self._http, path, body)

    def traits(self) -> dict[str, Trait]:
        """Returns the server's traits by name.

        Raises:
            PersonaError: The call failed.
        """
        return self._call("GET", protocol.TRAITS, protocol.read_traits)

    def trait(self, name: str) -> Trait:
        """Returns one trait.

        Raises:
            NotFoundError: There is no such trait.
            PersonaError: The call failed.
        """
        return self._call("GET", protocol.trait_path(name), Trait.from_json)

    def status(self) -> Status:
        """Returns what the server serves and whether it is ready.

        Raises:
            PersonaError: The call failed.
        """
        return self._call("GET", protocol.STATUS, Status.from_json)

    def _complete(
        self, prompt: str | None, trait: str | None, scalar: float, options: protocol.Options
    ) -> Completion:
        path, body = protocol.generation_call(prompt, trait, scalar, options, stream=False)
        return self._call("POST", path, Completion.from_json, body)

    def _call(
        self,
        method: str,
        path: str,
        read: Callable[[Mapping[str, Any]], T],
        body: dict[str, Any] | None = None,
    ) -> T:
        try:
            response = self._http.request(method, path, json=body)
        except httpx.TransportError as error:
            raise protocol.connection_error(self._http.base_url, error) from error
        return protocol.read_body(response, read)

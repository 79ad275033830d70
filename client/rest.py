# Made by scripts/make_sync_client.py from rest_async.py: change that one instead.
"""The synchronous client of the gateway."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

import httpx

from persona_client import calls, protocol, proxies
from persona_client.comparisons import (
    AnswerChunk,
    ComparedAnswer,
    Comparison,
    Sweep,
    SweptAnswer,
)
from persona_client.errors import PersonaError
from persona_client.results import Chunk, Completion, Status, Trait
from persona_client.retries import Attempts, RetryPolicy
from persona_client.steering import Operation, Steering

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

T = TypeVar("T")
Item = TypeVar("Item")
W = TypeVar("W")


class Stream(Generic[Item, W]):
    """What arrives piece by piece.

    Iterate over it for the pieces; afterwards `whole` is all of it. Leaving the context early
    closes the connection, which stops the generation on the server.
    """

    def __init__(
        self, http: httpx.Client, retries: RetryPolicy, call: calls.StreamCall[Item, W]
    ) -> None:
        self._http = http
        self._retries = retries
        self._call = call
        self._reader = call.reader()
        self._resources = ExitStack()

    @property
    def whole(self) -> W:
        """What it is in the end.

        Raises:
            RuntimeError: It has not ended.
        """
        return self._reader.whole

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; what is under way is stopped."""
        self._resources.close()

    def __iter__(self) -> Iterator[Item]:
        """Yields the pieces."""
        with self._resources:
            attempts = Attempts(self._retries)
            while True:
                try:
                    with closing(self._attempt()) as items:
                        yield from items
                    return
                except PersonaError as error:
                    if self._reader.begun:
                        raise
                    pause = attempts.pause_after(error)
                self.close()
                time.sleep(pause)

    def _attempt(self) -> Generator[Item, None, None]:
        self._reader = self._call.reader()
        request = self._http.build_request("POST", self._call.path, json=self._call.body)
        try:
            # Not `httpx.stream`, a generator, which an event loop that ends would close as well.
            response = self._http.send(request, stream=True)
            self._resources.callback(response.close)
            if not response.is_success:
                content = response.read()
                raise protocol.read_error(response.status_code, response.headers, content)
            for text in response.iter_text():
                yield from self._reader.feed(text)
        except httpx.TransportError as error:
            raise protocol.connection_error(self._http.base_url, error) from error
        self._reader.check_ended()


class CompletionStream(Stream[Chunk, Completion]):
    """An answer that arrives piece by piece."""

    @property
    def completion(self) -> Completion:
        """The whole answer, once the stream has ended.

        Raises:
            RuntimeError: The stream has not ended.
        """
        return self.whole


class PersonaClient:
    """Talks to a gateway from any number of threads; a context manager that closes its connections.

    A call that the server refuses because it is full or not ready, or whose connection fails before
    there is anything of the answer, is made again after a pause. One that fails raises a
    `PersonaError`.

    Args:
        url: The gateway's address.
        timeout: How many seconds to wait for a response, or between pieces of one.
        retries: How often to make such a call again; 0 never.
        deadline: How many seconds a call may take, all attempts and pauses together (for a stream,
            after how many it is not begun again); `timeout` if left out.
        api_key: A key for the gateway; `PERSONA_API_KEY` of the environment when left out.

    Raises:
        ConnectionFailedError: The environment's proxy for that address cannot be used.
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
        self._http = httpx.Client(
            base_url=url,
            timeout=protocol.timeouts(timeout),
            headers=protocol.key_headers(api_key),
            transport=proxies.direct_transport(httpx.HTTPTransport, url),
        )

    def __enter__(self) -> PersonaClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def generate(
        self,
        prompt: str | None,
        *,
        trait: str | None = None,
        scalar: float | None = None,
        **options: Unpack[protocol.Options],
    ) -> Completion:
        """Answers a prompt under steering.

        Args:
            prompt: The prompt; `None` when `messages` is among the options.
            trait: The trait to steer; `steering`, among the options, is enough without.
            scalar: How strongly: above 0 for more of the trait, below for less.
            **options: See `protocol.Options`.
        """
        return self._call(calls.steered_generation(prompt, trait, scalar, options).call)

    def baseline(self, prompt: str | None, **options: Unpack[protocol.Sampling]) -> Completion:
        """Answers a prompt as `generate` does, without steering."""
        return self._call(calls.baseline(prompt, options).call)

    def stream(
        self,
        prompt: str | None,
        *,
        trait: str | None = None,
        scalar: float | None = None,
        **options: Unpack[protocol.Options],
    ) -> CompletionStream:
        """Answers a prompt as `generate` does, piece by piece; without steering, a baseline."""
        call = calls.generation(prompt, trait, scalar, options).stream
        return CompletionStream(self._http, self._retries, call)

    def compare(
        self,
        prompt: str | None,
        steerings: Iterable[Steering | Mapping[str, float]],
        *,
        baseline: bool = True,
        **options: Unpack[protocol.Sampling],
    ) -> Comparison:
        """Answers a prompt under several steerings at once.

        Args:
            prompt: The prompt; `None` when `messages` is among the options.
            steerings: What to steer each answer by; scalars by trait are enough.
            baseline: Whether to answer without steering, too.
            **options: See `protocol.Sampling`.

        Raises:
            PersonaError: The call failed; of answers that failed alone, each says so itself.
        """
        return self._call(calls.comparison(prompt, steerings, baseline, options).call)

    def compare_stream(
        self,
        prompt: str | None,
        steerings: Iterable[Steering | Mapping[str, float]],
        *,
        baseline: bool = True,
        **options: Unpack[protocol.Sampling],
    ) -> Stream[AnswerChunk | ComparedAnswer, Comparison]:
        """Answers as `compare`, piece by piece: pieces as they come, each answer when it ends."""
        call = calls.comparison(prompt, steerings, baseline, options).stream
        return Stream(self._http, self._retries, call)

    def sweep(
        self,
        prompt: str | None,
        *,
        trait: str | None = None,
        scalars: Sequence[float] | None = None,
        operation: Operation | None = None,
        values: Sequence[float] | None = None,
        scores: bool = False,
        **options: Unpack[protocol.Options],
    ) -> Sweep:
        """Answers a prompt at several scalars of a trait, or values of an operation, at once.

        Args:
            prompt: The prompt; `None` when `messages` is among the options.
            trait: The trait to steer.
            scalars: How strongly.
            operation: The operation, without a value, in place of a trait.
            values: Its values.
            scores: Whether to read how far each answer points along the trait.
            **options: See `protocol.Options`.

        Raises:
            PersonaError: The call failed; of answers that failed alone, each says so itself.
        """
        series = calls.of_series(trait, scalars, operation, values)
        return self._call(calls.sweep(prompt, series, scores, options).call)

    def sweep_stream(
        self,
        prompt: str | None,
        *,
        trait: str | None = None,
        scalars: Sequence[float] | None = None,
        operation: Operation | None = None,
        values: Sequence[float] | None = None,
        scores: bool = False,
        **options: Unpack[protocol.Options],
    ) -> Stream[AnswerChunk | SweptAnswer, Sweep]:
        """Answers as `sweep`, piece by piece: pieces as they come, each answer when it ends."""
        series = calls.of_series(trait, scalars, operation, values)
        call = calls.sweep(prompt, series, scores, options).stream
        return Stream(self._http, self._retries, call)

    def traits(self) -> dict[str, Trait]:
        """Returns the server's traits by name."""
        return self._call(calls.traits())

    def trait(self, name: str) -> Trait:
        """Returns one trait.

        Raises:
            NotFoundError: There is no such trait.
        """
        return self._call(calls.trait(name))

    def put_trait(
        self,
        name: str,
        file: Path | str,
        *,
        convention: Literal["block", "hidden-state"] | None = None,
        model_name: str | None = None,
    ) -> Trait:
        """Makes a vector file a trait's, and returns the trait once the engine steers by it.

        Args:
            name: The trait, whatever the file says.
            file: The file: `.safetensors`, `.gguf`, `.json`, `.pt` or `.svec`.
            convention: What its indices count, if not what its format usually means.
            model_name: The model it was made from, if it does not say.

        Raises:
            OSError: The file cannot be read.
            NotAllowedError: The key has not the role admin.
        """
        return self._call(calls.put_trait(name, file, convention, model_name))

    def delete_trait(self, name: str) -> None:
        """Removes a trait and its files; returns once the engine has let go of it.

        Raises:
            NotFoundError: There is no such trait.
            NotAllowedError: The key has not the role admin.
        """
        self._call(calls.delete_trait(name))

    def status(self) -> Status:
        """Returns what the server serves and whether it is ready."""
        return self._call(calls.status())

    def _call(self, call: calls.Call[T]) -> T:
        attempts = Attempts(self._retries)
        arguments = call.arguments
        while True:
            timeout = protocol.timeouts(min(self._timeout, attempts.seconds_left()))
            try:
                try:
                    return call.read(self._http.request(**arguments, timeout=timeout))
                except httpx.TransportError as error:
                    raise protocol.connection_error(self._http.base_url, error) from error
            except PersonaError as error:
                if not call.repeatable:
                    raise
                pause = attempts.pause_after(error)
            time.sleep(pause)

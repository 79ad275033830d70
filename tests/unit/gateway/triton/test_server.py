"""What a server's refusals of questions mean."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from gateway import errors
from gateway.observability.metrics import GatewayMetrics
from gateway.triton.health import check_readiness
from gateway.triton.server import TritonServer
from tests.triton_server import serving
from triton_models.contract.errors import (
    ContextLengthError,
    RequestError,
    TraitNotLoadedError,
    error_text,
)


class Refusing(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Refuses whatever it is asked with one error."""

    def __init__(self, error: RequestError) -> None:
        self._text = error_text(error)

    def ModelStreamInfer(  # noqa: N802 - gRPC's name
        self, requests: Iterator[Any], context: Any
    ) -> Iterator[Any]:
        for _ in requests:
            yield service_pb2.ModelStreamInferResponse(error_message=self._text)


@asynccontextmanager
async def refusing(error: RequestError) -> AsyncIterator[TritonServer]:
    with serving(Refusing(error)) as address:
        server = TritonServer(address, GatewayMetrics())
        yield server
        await server.close()


async def test_a_prompt_that_is_refused_is_its_client_s_error() -> None:
    async with refusing(ContextLengthError(1024, "the prompt has more")) as server:
        with pytest.raises(errors.ContextLengthError, match="1024 tokens, but the prompt has more"):
            await server.tokenize({"text_input": ["Hello"]})


async def test_what_is_not_found_is_not_stopped() -> None:
    async with refusing(TraitNotLoadedError("no request has this id")) as server:
        assert not await server.stop("an-id")


async def test_a_step_that_fails_on_everything_does_not_work() -> None:
    async with refusing(RequestError("it could not be tokenized")) as server:
        with pytest.raises(errors.GatewayError, match="it could not be tokenized"):
            await check_readiness(server)

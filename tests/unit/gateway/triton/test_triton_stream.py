"""A stream whose call ends while the request is being written fails with the call's status."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2_grpc

from gateway.errors import DeadlineError, UnreachableError
from gateway.triton.stream import TritonStream
from tests.unit.launcher.standin_triton import OLD, standin_triton
from triton_models.contract.tensors import PERSONA
from triton_models.grpc_messages import encode_request
from triton_models.signs_of_life import ONE_TOKEN


class Call:
    """A gRPC call that has ended before all of it was sent."""

    def __init__(self, error: Exception, status: grpc.StatusCode) -> None:
        self._error = error
        self._status = status

    async def write(self, request: Any) -> None:
        pass

    async def done_writing(self) -> None:
        raise self._error

    async def code(self) -> grpc.StatusCode:
        return self._status

    async def details(self) -> str:
        return "the details"


class Stub:
    def __init__(self, call: Call) -> None:
        self._call = call

    def ModelStreamInfer(self, **_: Any) -> Call:  # noqa: N802 - gRPC's name
        return self._call


@pytest.mark.parametrize("error", [asyncio.InvalidStateError(), grpc.aio.BaseError()])
async def test_the_status_tells_why_whatever_grpc_raises(error: Exception) -> None:
    late = TritonStream(Stub(Call(error, grpc.StatusCode.DEADLINE_EXCEEDED)), None, 1)
    with pytest.raises(DeadlineError):
        await late.open()
    assert not late.ended, "the engine may have the request all the same"
    gone = TritonStream(Stub(Call(error, grpc.StatusCode.UNAVAILABLE)), None, 1)
    with pytest.raises(UnreachableError):
        await gone.open()
    assert gone.ended


async def test_what_was_written_is_not_kept() -> None:
    class Written(Call):
        async def done_writing(self) -> None:
            pass

    request = Stub(Call(ValueError(), grpc.StatusCode.OK))  # anything that can be referred to
    left = weakref.ref(request)
    stream = TritonStream(Stub(Written(ValueError(), grpc.StatusCode.OK)), request, 1)
    del request
    await stream.open()
    assert left() is None


@pytest.mark.parametrize("moments", range(4))
async def test_a_stream_that_is_cancelled_while_it_is_opened_ends(moments: int) -> None:
    with standin_triton(OLD) as (_, address):
        channel = grpc.aio.insecure_channel(address)
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        await channel.channel_ready()
        stream = TritonStream(stub, encode_request(PERSONA, "id", ONE_TOKEN), 3600)
        opening = asyncio.create_task(stream.open())
        for _ in range(moments):
            await asyncio.sleep(0)
        stream.cancel()
        # Without end before; how it ends depends on how far it has come.
        await asyncio.wait([opening], timeout=60)
        assert opening.done()
        if not opening.cancelled():
            opening.exception()  # which is then seen
        await channel.close()

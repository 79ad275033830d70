"""How a stream fails whose call ends while it is opened, and how it is ended."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from gateway.errors import DeadlineError, GatewayError, UnreachableError
from gateway.triton.stream import TritonStream
from tests.triton_server import serving
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
    late = TritonStream(Stub(Call(error, grpc.StatusCode.DEADLINE_EXCEEDED)), None, 3600)
    with pytest.raises(DeadlineError):
        await late.open()
    assert not late.ended, "the engine may have the request all the same"
    gone = TritonStream(Stub(Call(error, grpc.StatusCode.UNAVAILABLE)), None, 3600)
    with pytest.raises(UnreachableError):
        await gone.open()
    assert gone.ended


@pytest.mark.parametrize("status", [grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED])
async def test_whatever_fails_when_the_time_is_over_is_late(status: grpc.StatusCode) -> None:
    # Writing fails with INTERNAL then, and Triton itself may be first to cancel.
    late = TritonStream(Stub(Call(asyncio.InvalidStateError(), status)), None, 0)
    with pytest.raises(DeadlineError):
        await late.open()
    assert not late.ended, "the engine may have the request all the same"


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


class SlowlyEnding(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Says its last word about a request, and ends the stream when it may."""

    def __init__(self, message: Any) -> None:
        self._message = message
        self.may_end = threading.Event()
        self.codes: list[Any] = []

    def ModelStreamInfer(  # noqa: N802 - gRPC's name
        self, requests: Iterator[Any], context: Any
    ) -> Iterator[Any]:
        context.add_callback(lambda: self.codes.append(context.code()))
        next(requests)
        yield self._message
        self.may_end.wait()
        context.set_code(grpc.StatusCode.OK)


@pytest.mark.parametrize("text", ["invalid_argument: too long", "a failure of Triton's own"])
async def test_a_stream_that_has_had_its_last_word_is_not_cancelled(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.triton.stream._END_SECONDS", 3600)
    triton = SlowlyEnding(service_pb2.ModelStreamInferResponse(error_message=text))
    with serving(triton) as address:
        channel = grpc.aio.insecure_channel(address)
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        stream = TritonStream(stub, encode_request(PERSONA, "id", ONE_TOKEN), 3600)
        await stream.open()
        try:
            await stream.read(3600)
        except GatewayError:
            assert text == "a failure of Triton's own"
        ending = asyncio.create_task(stream.end())
        for _ in range(50):
            await asyncio.sleep(0)
        triton.may_end.set()
        await ending
        await channel.close()
    assert triton.codes == [grpc.StatusCode.OK], "None is that of a call that was cancelled"

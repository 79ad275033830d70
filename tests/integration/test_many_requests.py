"""Hundreds of requests, many of them abandoned: nothing is lost, and nothing is left behind."""

from __future__ import annotations

import ctypes
import gc
import random
import sys
import threading

from tests.e2e.waiting import eventually
from tests.integration.test_engine_against_generate import STEERINGS
from triton_models.contract.request import GenerationRequest, SamplingParameters
from triton_models.engine.build import build_engine
from triton_models.engine.engine import Engine
from triton_models.engine.sequence import FinishReason, Sequence, TokenChunk
from triton_models.settings import ServerSettings

NUM_REQUESTS = 1_500
WARM_UP = 500
MAX_OPEN = 40
BLOCKS_ALLOWED = 0.5
"""For each request, as `BYTES_ALLOWED`: tables and pools grow now and then, by a third of that."""

BYTES_ALLOWED = 256

NAMES_OF_MALLINFO = (
    "arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost"
)


class NativeMemory(ctypes.Structure):
    """What `mallinfo2` of the C library returns."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in NAMES_OF_MALLINFO.split(", "))


class Traffic:
    """Sends random requests, cancels every fifth, and counts their last chunks."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._random = random.Random(0)
        self._lock = threading.Lock()
        self._places = threading.Semaphore(MAX_OPEN)
        self.last_chunks = dict.fromkeys(FinishReason, 0)

    def send(self, count: int) -> None:
        """Sends requests, a bounded number at a time, and waits until all have ended."""
        for _ in range(count):
            self._places.acquire()
            self._send_one()
        for _ in range(MAX_OPEN):
            self._places.acquire()
        for _ in range(MAX_OPEN):
            self._places.release()

    def _send_one(self) -> None:
        pick = self._random
        beginning = [pick.randrange(3)] * pick.choice([0, 20, 50])
        request = GenerationRequest(
            pick.choice(STEERINGS),
            SamplingParameters(temperature=pick.choice([0.0, 1.0])),
            max_tokens=pick.randint(2, 8),
            stream=pick.random() < 0.5,
            stop_words=("e",) if pick.random() < 0.3 else (),
            logprobs=1 if pick.random() < 0.1 else None,
            monitor=("flattery",) if pick.random() < 0.1 else (),
        )
        prompt = beginning + [pick.randrange(256) for _ in range(pick.randint(1, 6))]
        sequence = self._engine.submit(request, prompt, self._take)
        if pick.random() < 0.2:
            self._engine.cancel(sequence)

    def _take(self, chunk: TokenChunk) -> None:
        if chunk.finish_reason is not None:
            with self._lock:
                self.last_chunks[chunk.finish_reason] += 1
            self._places.release()


def num_sequences() -> int:
    """Returns how many sequences this process has, of whichever engine."""
    gc.collect()
    return sum(type(each) is Sequence for each in gc.get_objects())


def in_use(engine: Engine) -> tuple[int, int, int]:
    """Returns how many requests run, how many wait, and the tokens that they have room for."""
    now = engine.statistics
    return now.running, now.waiting, now.kv_tokens_used


def memory_at_rest(engine: Engine) -> tuple[int, int]:
    """Returns Python's blocks of memory, and the bytes allocated outside them, as tensors are."""
    # The engine's thread may still be at the end of its last step.
    assert eventually(lambda: in_use(engine) == (0, 0, 0))
    gc.collect()
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = NativeMemory
    native = mallinfo()
    return sys.getallocatedblocks(), native.uordblks + native.hblkhd


def test_many_requests_leave_no_row_no_room_and_no_memory_behind(settings: ServerSettings) -> None:
    of_other_tests = num_sequences()
    engine = build_engine(settings.model_copy(update={"max_batch_rows": 32})).engine
    engine.start()
    traffic = Traffic(engine)
    traffic.send(WARM_UP)
    blocks, native_bytes = memory_at_rest(engine)
    measured = NUM_REQUESTS - WARM_UP
    traffic.send(measured)
    blocks_after, native_bytes_after = memory_at_rest(engine)

    assert sum(traffic.last_chunks.values()) == NUM_REQUESTS
    assert traffic.last_chunks[FinishReason.ERROR] == 0
    assert traffic.last_chunks[FinishReason.CANCELLED] > NUM_REQUESTS / 20
    assert engine.statistics.reused_tokens > NUM_REQUESTS
    assert engine._scheduler._rows.num_free == 32
    assert eventually(lambda: num_sequences() <= of_other_tests)
    assert blocks_after - blocks < BLOCKS_ALLOWED * measured
    assert native_bytes_after - native_bytes < BYTES_ALLOWED * measured
    engine.stop(0)
